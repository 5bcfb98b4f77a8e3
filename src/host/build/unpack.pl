#!/usr/bin/perl
# unpack.pl ARCHIVE FOLDER MAX_BYTES MAX_ENTRIES [strip]
# Unpacks a tar or .tar.gz that somebody else made into FOLDER, which is empty. Every head is judged before tar
# sees it: absolute names, `..`, links that lead out, devices and set-id bits end it, as do the bounds. Prints
# the newest time in the archive; a refusal is one sentence on stderr and status 1.
use strict;
use warnings;

my ($archive, $folder, $max_bytes, $max_entries, $strip) = @ARGV;
# An archive that grows more than this while it is unpacked is made to harm; small ones may grow to the floor.
my ($RATIO, $FLOOR) = (50, 1024 * 1024);

my $worker;
# tar is ended first: it would add words of its own about an archive that stops.
sub refuse { kill('KILL', $worker) if $worker; print STDERR "$_[0]\n"; exit 1 }

open(my $in, '<:raw', $archive) or refuse("The archive cannot be read.");
my $packed = -s $archive;
read($in, my $magic, 2);
my $gzip = defined $magic && $magic eq "\x1f\x8b";
seek($in, 0, 0);
if ($gzip) {
  open(my $unzipped, '-|:raw', 'gzip', '-dcq', $archive) or refuse("The archive cannot be read.");
  $in = $unzipped;
  my $grown = $packed * $RATIO;
  $grown = $FLOOR if $grown < $FLOOR;
  $max_bytes = $grown if $grown < $max_bytes;
}
$SIG{PIPE} = 'IGNORE';
$worker = open(my $tar, '|-:raw', 'tar', '-x', '-C', $folder, '--no-same-owner', '--no-same-permissions', '-f', '-')
  or refuse("tar cannot be started.");

my ($total, $entries, $newest) = (0, 0, 0);
my (%next, %global);
my $ended = 0;

sub too_large {
  refuse(sprintf("The archive has more than %d MiB unpacked, or grows too much; leave out what the app does not need.", $max_bytes / 1048576));
}

sub take {
  my ($count) = @_;
  my $bytes = '';
  while (length($bytes) < $count) {
    my $got = read($in, $bytes, $count - length($bytes), length($bytes));
    refuse("The archive was cut short; upload it again.") if !$got;
  }
  $total += $count;
  too_large() if $total > $max_bytes;
  return $bytes;
}

sub pass { print {$tar} $_[0] }

sub number {
  my ($field) = @_;
  if (ord($field) & 0x80) {
    my $value = ord($field) & 0x7f;
    $value = $value * 256 + ord for split //, substr($field, 1);
    return $value;
  }
  $field =~ s/[\0 ].*//s if $field !~ /^ /;
  $field =~ s/^ +//; $field =~ s/[\0 ].*//s;
  refuse("The archive is not a tar.") if $field !~ /^[0-7]*$/;
  return oct($field || '0');
}

sub text { my ($field) = @_; $field =~ s/\0.*//s; return $field }

# Steps out of the tree when read from its root, one name after the other.
sub leads_out {
  my ($depth, $path) = (0, $_[0]);
  for my $part (split m{/+}, $path) {
    next if $part eq '' || $part eq '.';
    if ($part eq '..') { return 1 if --$depth < 0 } else { $depth++ }
  }
  return 0;
}

sub pax {
  my ($records, $into) = @_;
  while ($records =~ s/^(\d+) //) {
    my $length = $1 - length($1) - 1;
    last if $length < 1 || $length > length($records);
    my $record = substr($records, 0, $length, '');
    chomp $record;
    my ($key, $value) = split /=/, $record, 2;
    $into->{$key} = $value if defined $value;
    refuse("The archive holds sparse files; make it without --sparse.") if $key =~ /^GNU\.sparse/;
  }
}

while (1) {
  my $got = read($in, my $head, 512);
  last if !$got;
  while ($got < 512) {
    my $more = read($in, $head, 512 - $got, $got);
    refuse($entries ? "The archive was cut short; upload it again." : "The archive is not a .tar.gz; make one with: tar czf app.tgz .") if !$more;
    $got += $more;
  }
  $total += 512;
  if ($head =~ /^\0+$/) { pass($head); $ended = 1; next }
  last if $ended;
  my $sum = 0;
  my $plain = $head;
  substr($plain, 148, 8) = ' ' x 8;
  $sum += ord for split //, $plain;
  refuse("The archive is not a .tar.gz; make one with: tar czf app.tgz .") if $sum != number(substr($head, 148, 8));
  my $type = substr($head, 156, 1);
  my $size = number(substr($head, 124, 12));
  if ($type eq 'x' || $type eq 'g' || $type eq 'L' || $type eq 'K') {
    refuse("The archive has a name that is too long.") if $size > 1048576;
    my $padded = int(($size + 511) / 512) * 512;
    my $data = take($padded);
    my $body = substr($data, 0, $size);
    if ($type eq 'x') { pax($body, \%next) }
    elsif ($type eq 'g') { pax($body, \%global) }
    elsif ($type eq 'L') { $next{path} = text($body) }
    else { $next{linkpath} = text($body) }
    pass($head . $data);
    next;
  }
  my %told = (%global, %next);
  %next = ();
  $entries++;
  refuse("The archive has more than $max_entries files.") if $entries > $max_entries;
  my $prefix = substr($head, 257, 6) eq "ustar\0" ? text(substr($head, 345, 155)) : '';
  my $name = $told{path} // (($prefix ne '' ? "$prefix/" : '') . text(substr($head, 0, 100)));
  my $link = $told{linkpath} // text(substr($head, 157, 100));
  $size = $told{size} if defined $told{size} && $told{size} =~ /^\d+$/;
  my $shown = substr($name, 0, 200);
  $shown =~ s/[^\x20-\x7e]/?/g;
  refuse("The archive holds the absolute name $shown; make it with names below its own folder.") if $name =~ m{^/};
  refuse("The archive holds the name $shown, which leads out of it.") if "/$name/" =~ m{/\.\./};
  if ($type eq '2') {
    my $from = $name =~ m{^(.*)/[^/]+/*$}s ? $1 : '';
    refuse("The link $shown leads out of the app; let it point within.") if $link =~ m{^/} || leads_out("$from/$link");
  } elsif ($type eq '1') {
    refuse("The link $shown leads out of the app; let it point within.") if $link =~ m{^/} || "/$link/" =~ m{/\.\./};
  } elsif ($type !~ /^[05\x007]$/) {
    refuse("$shown is a device, a FIFO or another file that an app cannot hold; leave it out.");
  }
  my $mode = number(substr($head, 100, 8));
  refuse("$shown has a set-user-id or set-group-id bit; take it away with chmod.") if $type !~ /[25]/ && ($mode & 06000);
  my $time = $told{mtime} // number(substr($head, 136, 12));
  $newest = int($time) if $time > $newest;
  pass($head);
  $size = 0 if $type =~ /[125]/;
  my $rest = int(($size + 511) / 512) * 512;
  too_large() if $total + $rest > $max_bytes;
  while ($rest > 0) {
    my $step = $rest > 262144 ? 262144 : $rest;
    pass(take($step));
    $rest -= $step;
  }
}
refuse("The archive is empty; put the app's files in it.") if !$entries;
refuse("The archive was cut short; upload it again.") if !$ended;
close($tar) or refuse("The archive could not be unpacked" . ($! ? ": $!." : "."));
if ($strip) {
  opendir(my $dir, $folder) or refuse("The archive could not be unpacked.");
  my @names = grep { $_ ne '.' && $_ ne '..' } readdir($dir);
  # GitHub's archives and their like have one folder on top; a buildpack's own bin is none.
  if (@names == 1 && $names[0] ne 'bin' && -d "$folder/$names[0]" && !-l "$folder/$names[0]") {
    my $aside = "$folder.top";
    rename("$folder/$names[0]", $aside) && rmdir($folder) && rename($aside, $folder)
      or refuse("The archive could not be unpacked.");
  }
}
print "$newest\n";
