# fish completion for loam(1). What it offers is checked against each --help by a test.

# Is there no command yet?
function __loam_begins
    test (count (commandline -opc)) -eq 1
end

# Has `loam run` got a file, so that its program's arguments follow?
function __loam_runs
    set -l words (commandline -opc)
    test "$words[2]" = run; and string match -q -- '*.c' $words[3..-1]
end

# Is the command one of these?
function __loam_is
    set -l words (commandline -opc)
    contains -- "$words[2]" $argv; and not __loam_runs
end

complete -c loam -f
complete -c loam -n __loam_begins -s h -l help -d 'Explain'
complete -c loam -n __loam_begins -s V -l version -d 'Show the version'
complete -c loam -n __loam_begins -a build -d 'Compile a C program'
complete -c loam -n __loam_begins -a run -d 'Compile a C program and run it'
complete -c loam -n __loam_begins -a tour -d 'Show the runtime at work, measured on the spot'
complete -c loam -n __loam_begins -a env -d 'Show what the tool works with'
complete -c loam -n __loam_begins -a version -d 'Show the version'
complete -c loam -n __loam_begins -a help -d 'Explain a command'

complete -c loam -n '__loam_is build run tour env version' -s h -l help -d 'Explain'
complete -c loam -n '__loam_is build run' -a '(__fish_complete_suffix .c)'
complete -c loam -n __loam_runs -F
complete -c loam -n '__loam_is build run' -s o -r -F -d 'Name of the program'
complete -c loam -n '__loam_is build run' -s O -x -a '0 1 2 3 s g fast' -d 'Optimise'
complete -c loam -n '__loam_is build run' -s D -x -d 'Define a macro'
complete -c loam -n '__loam_is build run' -s I -x -a '(__fish_complete_directories)' -d 'Headers there too'
complete -c loam -n '__loam_is build run' -s l -x -d 'Link a library'
complete -c loam -n '__loam_is build run' -s L -x -a '(__fish_complete_directories)' -d 'Libraries there too'
complete -c loam -n '__loam_is build run' -l cc -x -a '(__fish_complete_command)' -d 'The C compiler'
complete -c loam -n '__loam_is build run' -l cflags -x -d 'More flags for the compiler'
complete -c loam -n '__loam_is build run' -l ldflags -x -d 'More flags for linking'
complete -c loam -n '__loam_is build run' -l migratable -d 'The code belongs to no thread'
complete -c loam -n '__loam_is build run' -l stack -x -a 'slots small' -d 'Stacks of goroutines'
complete -c loam -n '__loam_is build run' -l sanitize -x -a 'address thread undefined' -d 'With a sanitizer'
complete -c loam -n '__loam_is build run' -l variant -x -a 'release debug torture asan tsan ubsan' -d 'Another build of the library'
complete -c loam -n '__loam_is build run' -s v -l verbose -d 'Show the commands'
complete -c loam -n '__loam_is tour' -l list -d 'List the steps'
complete -c loam -n '__loam_is tour' -l json -d 'What was measured, as JSON'
complete -c loam -n '__loam_is tour' -l check -r -F -d 'Judge a tour again'
complete -c loam -n '__loam_is tour' -l watch-root -x -a '(__fish_complete_directories)' -d 'What the real program works on'
complete -c loam -n '__loam_is tour' -l watch-program -r -F -d 'The real program'
complete -c loam -n '__loam_is tour' -a '(loam tour --list 2>/dev/null | string replace -r " .*" "")'
complete -c loam -n '__loam_is env' -s j -l json -d 'As a JSON object'
complete -c loam -n '__loam_is env' -a '(loam env 2>/dev/null | string replace -r "=.*" "")'
complete -c loam -n '__loam_is version' -s v -l verbose -d 'More'
complete -c loam -n '__loam_is help; and test (count (commandline -opc)) -eq 2' -a 'build run tour env version help'
