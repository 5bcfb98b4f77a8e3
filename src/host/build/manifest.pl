#!/usr/bin/perl
# manifest.pl procfile FILE       process types of a Procfile
# manifest.pl release FILE        what bin/release printed (YAML): types and config vars
# manifest.pl slugignore FOLDER   removes from FOLDER what its .slugignore names
# The first two print fields that end with NUL: kind, key, value. A fault is one sentence on stderr, status 1.
use strict;
use warnings;

my ($job, $path) = @ARGV;

sub refuse { print STDERR "$_[0]\n"; exit 1 }
sub put { print join("\0", @_), "\0" }

sub slurp {
  open(my $file, '<:raw', $path) or refuse("$path cannot be read.");
  local $/;
  my $text = <$file> // '';
  return $text;
}

sub procfile {
  my $text = slurp();
  refuse("The Procfile is not UTF-8 text; save it as such.") if !utf8::decode(my $copy = $text);
  $text =~ s/^\xef\xbb\xbf//;
  my (%types, @order);
  my $number = 0;
  for my $line (split /\r\n|\n|\r/, $text) {
    $number++;
    next if $line =~ /^\s*(#|$)/;
    if ($line !~ /^([A-Za-z0-9_-]+):\s*(.+)$/) {
      my $shown = substr($line, 0, 80);
      $shown =~ s/[\x00-\x1f]/?/g;
      refuse("Line $number of the Procfile, \"$shown\", is not of the form \"<type>: <command>\"; correct it and push again.");
    }
    my ($type, $command) = ($1, $2);
    refuse("Line $number of the Procfile: a type has at most 128 characters; shorten it and push again.") if length $type > 128;
    $command =~ s/\s+$//;
    refuse("Line $number of the Procfile holds a NUL; remove it and push again.") if $command =~ /\0/;
    $types{$type} = $command;
  }
  put('type', $_, $types{$_}) for sort keys %types;
}

# A scalar of YAML: quoted or plain, without a comment behind it.
sub scalar_of {
  my ($text) = @_;
  $text =~ s/^\s+//;
  if ($text =~ /^"((?:[^"\\]|\\.)*)"/) {
    my $value = $1;
    my %escapes = (n => "\n", t => "\t", r => "\r", '0' => '');
    $value =~ s/\\(.)/exists $escapes{$1} ? $escapes{$1} : $1/ge;
    return $value;
  }
  if ($text =~ /^'((?:[^']|'')*)'/) {
    my $value = $1;
    $value =~ s/''/'/g;
    return $value;
  }
  $text =~ s/\s+#.*$//;
  $text =~ s/\s+$//;
  return $text;
}

sub release {
  my %kinds = (default_process_types => 'type', config_vars => 'config');
  my $kind;
  my ($block_key, $block_indent, $block_fold, @block);
  my $end_block = sub {
    return if !defined $block_key;
    put($kind, $block_key, join($block_fold ? ' ' : "\n", @block)) if $kind;
    $block_key = undef;
    @block = ();
  };
  for my $line (split /\r?\n/, slurp()) {
    next if $line =~ /^\s*(#|$)/ && !defined $block_key;
    if (defined $block_key) {
      my ($indent) = $line =~ /^(\s*)/;
      if (length $indent > $block_indent) { push @block, substr($line, length $indent); next }
      $end_block->();
    }
    next if $line =~ /^---\s*(\{\s*\})?\s*$|^\.\.\.\s*$/;
    $line =~ s/^---\s+//;
    if ($line =~ /^["']?([\w-]+)["']?:\s*(.*)$/) {
      $kind = $kinds{$1};
      my $rest = $2;
      if ($kind && $rest =~ /^\{(.*)\}\s*(#.*)?$/) {
        my $inner = $1;
        while ($inner =~ /\G\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^:,]+?)\s*:\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]*)\s*(?:,|$)/g) {
          put($kind, scalar_of($1), scalar_of($2));
        }
        $kind = undef;
      }
    } elsif ($kind && $line =~ /^(\s+)("[^"]*"|'[^']*'|[\w.-]+):\s*(.*)$/) {
      my ($indent, $key, $value) = (length $1, scalar_of($2), $3);
      if ($value =~ /^([|>])[-+]?\s*$/) {
        ($block_key, $block_indent, $block_fold) = ($key, $indent, $1 eq '>');
      } else {
        put($kind, $key, scalar_of($value));
      }
    }
  }
  $end_block->();
}

# A pattern of .slugignore as a regular expression over the path from the top, and whether it wants a folder.
sub pattern_of {
  my ($glob) = @_;
  my $folders = $glob =~ s{/+$}{};
  my $anchored = $glob =~ m{/};
  $glob =~ s{^/}{};
  my $regex = '';
  while ($glob =~ /\G(\*\*\/|\/\*\*$|\*|\?|\[!?[^\]]+\]|\\.|.)/gs) {
    my $part = $1;
    if ($part eq '**/') { $regex .= '(?:.*/)?' }
    elsif ($part eq '/**') { $regex .= '/.*' }
    elsif ($part eq '*') { $regex .= '[^/]*' }
    elsif ($part eq '?') { $regex .= '[^/]' }
    elsif ($part =~ /^\[(!?)(.+)\]$/s) { my ($not, $set) = ($1, $2); $set =~ s/([\\\[])/\\$1/g; $regex .= '[' . ($not ? '^' : '') . $set . ']' }
    elsif ($part =~ /^\\(.)$/s) { $regex .= quotemeta $1 }
    else { $regex .= quotemeta $part }
  }
  my $whole = $anchored ? "^$regex\$" : "^(?:.*/)?$regex\$";
  return eval { { regex => qr/$whole/s, folders => $folders } };
}

sub slugignore {
  my $folder = $path;
  $path = "$folder/.slugignore";
  return if !-f $path || -l $path;
  my @patterns = grep { defined } map { pattern_of($_) } grep { !/^\s*(#|!|$)/ } map { s/\s+$//r } split /\r?\n/, slurp();
  return if !@patterns;
  my @doomed;
  my $walk;
  $walk = sub {
    my ($below) = @_;
    opendir(my $dir, $below eq '' ? $folder : "$folder/$below") or return;
    for my $name (sort grep { $_ ne '.' && $_ ne '..' } readdir($dir)) {
      my $inner = $below eq '' ? $name : "$below/$name";
      my $is_folder = -d "$folder/$inner" && !-l "$folder/$inner";
      if (grep { (!$_->{folders} || $is_folder) && $inner =~ $_->{regex} } @patterns) { push @doomed, "$folder/$inner" }
      elsif ($is_folder) { $walk->($inner) }
    }
  };
  $walk->('');
  while (my @some = splice(@doomed, 0, 200)) { system('rm', '-rf', '--', @some) }
}

if ($job eq 'procfile') { procfile() }
elsif ($job eq 'release') { release() }
elsif ($job eq 'slugignore') { slugignore() }
