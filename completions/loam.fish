# fish completion for loam(1). What it offers is checked against each --help by a test.
set -l commands run build env version tour help
complete -c loam -f
complete -c loam -l help -d 'Explain'
complete -c loam -n "not __fish_seen_subcommand_from $commands" -a run -d 'Compile a C program and run it'
complete -c loam -n "not __fish_seen_subcommand_from $commands" -a build -d 'Compile a C program'
complete -c loam -n "not __fish_seen_subcommand_from $commands" -a env -d 'Show where everything lies and which settings count'
complete -c loam -n "not __fish_seen_subcommand_from $commands" -a version -d 'Show the version'
complete -c loam -n "not __fish_seen_subcommand_from $commands" -a tour -d 'Show how the scheduler works, measured on the spot'
complete -c loam -n "not __fish_seen_subcommand_from $commands" -a help -d 'Explain a command'
complete -c loam -n '__fish_seen_subcommand_from run build' -F
complete -c loam -n '__fish_seen_subcommand_from tour' -l watch-root -r -d 'The tree to hash'
complete -c loam -n '__fish_seen_subcommand_from help' -a "$commands"
