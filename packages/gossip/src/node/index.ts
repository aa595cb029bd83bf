/** A gossip member on real sockets: authenticated UDP packets, and streams under TLS with a shared key. */
export { GossipNode, type GossipNodeOptions, type GossipNodeStatus } from './gossip-node.ts'
