# The same as fast-kitchen.pl where there is no Perl. Usage: python3 -I -S fast-kitchen.py PORT
# _socket instead of socket: the wrapper imports a dozen modules.
import _socket
import sys
from select import poll, POLLIN

HEAD_BYTES_MAX = 65536
BODY = b"Hello World"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n"


def field(head, name):
    """The value of a header in a lower-case head, or None."""
    at = head.find(b"\r\n" + name + b":")
    return None if at < 0 else head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


def serve(client):
    """Answers all complete requests that are held; False when the connection shall be closed."""
    while True:
        eaten = min(len(client["held"]), client["owed"])
        client["held"] = client["held"][eaten:]
        client["owed"] -= eaten
        if client["owed"]:
            return True
        end = client["held"].find(b"\r\n\r\n")
        if end < 0:
            return len(client["held"]) < HEAD_BYTES_MAX
        head = client["held"][: end + 2].lower()
        client["held"] = client["held"][end + 4 :]
        client["owed"] = int(field(head, b"content-length") or 0)
        is_last = field(head, b"connection") == b"close" or field(head, b"transfer-encoding") is not None
        is_last = is_last or b" http/1.0\r\n" in head
        client["socket"].send(
            HEAD + (b"connection: close\r\n\r\n" if is_last else b"\r\n") + (b"" if head.startswith(b"head ") else BODY)
        )
        if is_last:
            return False


def main(port):
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(1024)
    poller = poll()
    poller.register(listener.fileno(), POLLIN)
    clients = {}
    while True:
        for fd, _ in poller.poll():
            if fd == listener.fileno():
                fd = listener._accept()[0]
                accepted = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
                accepted.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                clients[fd] = {"socket": accepted, "held": b"", "owed": 0}
                poller.register(fd, POLLIN)
                continue
            client = clients[fd]
            try:
                chunk = client["socket"].recv(65536)
                client["held"] += chunk
                keep = bool(chunk) and serve(client)
            except OSError:
                keep = False
            if not keep:
                poller.unregister(fd)
                client["socket"].close()
                del clients[fd]


main(int(sys.argv[1]))
