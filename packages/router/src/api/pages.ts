import { randomBytes } from 'node:crypto'
import { escapeHtml } from '../errors/error-response.ts'

const STYLE =
  'body{font:15px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem;color:#222}' +
  'th{text-align:left;vertical-align:top;padding-right:1.5rem;font-weight:600;white-space:nowrap}' +
  'pre{margin:0;white-space:pre-wrap}button{font:inherit;padding:.4rem 1rem;margin-right:1rem}'

/** A page of Waiter's own and the headers that keep others from using it. */
export interface OwnPage {
  readonly html: string
  readonly headers: Readonly<Record<string, string>>
}

/** Tells that the service starts, and goes on to it after a second (spec §1.11). */
export function renderInterstitial(target: string, token: string): OwnPage {
  const url = escapeHtml(target)
  return page({
    title: 'Waiter - Interstitial',
    // A refresh, not a script: it works wherever the page may be shown.
    head: `<meta http-equiv="refresh" content="1; url=${url}">`,
    body: `<h1>Starting</h1><p><b>${escapeHtml(token)}</b> is starting. This page goes on by itself; <a href="${url}">go on now</a>.</p>`,
  })
}

/** Asks whether a service may run as the user who looks at the page (spec §1.10). */
export function renderConsent(about: {
  readonly token: string
  readonly owner: string
  readonly user: string
  readonly cmd: string
  readonly version: string
  readonly serviceId: string
  /** Where to go on. */
  readonly target: string
}): OwnPage {
  const facts = [
    ['Application', about.token],
    ['Owner', about.owner],
    ['Command', about.cmd],
    ['Version', about.version],
    ['Service id', about.serviceId],
    ['Would run as', about.user],
  ] as const
  const rows = facts.map(([label, value]) => `<tr><th>${label}</th><td><pre>${escapeHtml(value)}</pre></td></tr>`)
  const data = `data-service-id="${escapeHtml(about.serviceId)}" data-target="${escapeHtml(about.target)}"`
  return page({
    title: 'Waiter - Run web app?',
    body: `<h1>Run web app?</h1><p>This application runs with your rights, as <b>${escapeHtml(about.user)}</b>.</p>
<table>${rows.join('')}</table>
<p ${data} id="consent"><button data-mode="token">Run web app</button><button data-mode="service">Run only this version</button></p>
<p id="problem" role="alert"></p>`,
    script: CONSENT_SCRIPT,
  })
}

const CONSENT_SCRIPT = `
const consent = document.getElementById('consent')
consent.addEventListener('click', async event => {
  const mode = event.target.dataset.mode
  if (!mode) return
  const body = new FormData()
  body.set('mode', mode)
  body.set('service-id', consent.dataset.serviceId)
  const answer = await fetch('/waiter-consent', {
    method: 'POST', body, credentials: 'same-origin', headers: { 'x-requested-with': 'XMLHttpRequest' },
  })
  if (answer.ok) location.assign(consent.dataset.target)
  else document.getElementById('problem').textContent = await answer.text()
})
`

function page(parts: { title: string; head?: string; body: string; script?: string }): OwnPage {
  const nonce = randomBytes(16).toString('base64')
  const script = parts.script === undefined ? '' : `<script nonce="${nonce}">${parts.script}</script>`
  return {
    html: `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>${parts.title}</title>${parts.head ?? ''}<style nonce="${nonce}">${STYLE}</style></head>
<body>${parts.body}${script}</body></html>
`,
    headers: {
      'content-type': 'text/html;charset=utf-8',
      'cache-control': 'no-store',
      'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    },
  }
}
