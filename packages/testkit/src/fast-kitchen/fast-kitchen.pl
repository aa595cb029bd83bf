# The quickest backend there is for measuring cold starts: answers every request "Hello World".
# Constants are Linux's, so that no module has to be loaded: a start takes a few milliseconds.
# Usage: perl fast-kitchen.pl PORT
use strict;
my $port = shift or die "usage: perl fast-kitchen.pl PORT\n";
my ($AF_INET, $SOCK_STREAM, $TCP, $SOL_SOCKET, $SO_REUSEADDR, $TCP_NODELAY) = (2, 1, 6, 1, 2, 1);
my $HEAD_BYTES_MAX = 65536;
$SIG{PIPE} = 'IGNORE';
socket(my $listener, $AF_INET, $SOCK_STREAM, $TCP) or die "socket: $!\n";
setsockopt($listener, $SOL_SOCKET, $SO_REUSEADDR, pack('i', 1));
bind($listener, pack('S n N x8', $AF_INET, $port, 0)) or die "fast-kitchen: port $port: $!\n";
listen($listener, 1024) or die "listen: $!\n";
my (%client, %held, %owed);
my $watched = '';
vec($watched, fileno($listener), 1) = 1;
while (1) {
  next if select(my $ready = $watched, undef, undef, undef) < 0;
  if (vec($ready, fileno($listener), 1) && accept(my $new, $listener)) {
    setsockopt($new, $TCP, $TCP_NODELAY, pack('i', 1));
    my $fd = fileno($new);
    ($client{$fd}, $held{$fd}, $owed{$fd}) = ($new, '', 0);
    vec($watched, $fd, 1) = 1;
  }
  for my $fd (keys %client) {
    next unless vec($ready, $fd, 1);
    next if sysread($client{$fd}, $held{$fd}, 65536, length $held{$fd}) && serve($fd);
    vec($watched, $fd, 1) = 0;
    close delete $client{$fd};
    delete $held{$fd};
    delete $owed{$fd};
  }
}

# Answers all complete requests that are held; false when the connection shall be closed.
sub serve {
  my $fd = shift;
  while (1) {
    if ($owed{$fd} > 0) {
      my $eaten = length $held{$fd} < $owed{$fd} ? length $held{$fd} : $owed{$fd};
      substr($held{$fd}, 0, $eaten) = '';
      $owed{$fd} -= $eaten;
      return 1 if $owed{$fd} > 0;
    }
    my $end = index($held{$fd}, "\r\n\r\n");
    return length $held{$fd} < $HEAD_BYTES_MAX if $end < 0;
    my $head = substr($held{$fd}, 0, $end + 4);
    substr($held{$fd}, 0, $end + 4) = '';
    $owed{$fd} = $1 if $head =~ /^content-length:\s*(\d+)/mi;
    my $is_last = $head =~ /^connection:\s*close/mi || $head =~ /^transfer-encoding:/mi || $head =~ /^\S+ \S+ HTTP\/1\.0/;
    my $body = $head =~ /^HEAD / ? '' : 'Hello World';
    my $connection = $is_last ? "connection: close\r\n" : '';
    syswrite $client{$fd}, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n$connection\r\n$body";
    return 0 if $is_last;
  }
}
