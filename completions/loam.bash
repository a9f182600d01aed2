# bash completion for loam(1). What it offers is checked against each --help by a test.

# Replies with those of the given words that begin as the typed one does. Options that end in = are
# not followed by a blank.
_loam_words()
{
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$word")
    [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
}

# The same for names of files whose names match a pattern, and directories.
_loam_files()
{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(
        compgen -f -X "!$1" -- "$word"
        [ "$1" = '*' ] || compgen -d -- "$word"
    )
}

# Where the files to compile begin: the place of the first word that is neither option nor argument of
# one; beyond the end if there is none.
_loam_first_file()
{
    local i
    for ((i = 2; i < ${#COMP_WORDS[@]}; i++)); do
        case ${COMP_WORDS[i]} in
        -[oODIlL] | --cc | --cflags | --ldflags | --sanitize | --stack | --variant)
            [[ ${COMP_WORDS[i + 1]} != = ]] || ((i++))
            ((i++))
            ;;
        -*) ;;
        *) break ;;
        esac
    done
    echo "$i"
}

_loam()
{
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands='build run tour env version help' command=${COMP_WORDS[1]} options
    local compile='-O -D -I -l -L --cc= --cflags= --ldflags= --migratable --sanitize= --stack= --variant= --verbose'
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        _loam_words "$commands --help --version"
        return
    fi
    # The shell splits --option=value at the sign.
    if [ "$word" = = ]; then
        word=
    elif [ "$previous" = = ]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    case $command in
    build) options="-o $compile --help" ;;
    run)
        options="-o $compile --help"
        if ((COMP_CWORD > $(_loam_first_file))); then
            _loam_files '*' # more files to compile, or the program's arguments
            return
        fi
        ;;
    tour) options='--list --json --check= --watch-root= --watch-program= --help' ;;
    env) options='--json --help' ;;
    version) options='--verbose --help' ;;
    help)
        [ "$COMP_CWORD" -ne 2 ] || _loam_words "$commands"
        return
        ;;
    *) return ;;
    esac

    case $command,$previous in
    build,-o | run,-o | tour,--check | tour,--watch-program) _loam_files '*' ;;
    build,-O | run,-O) _loam_words '0 1 2 3 s g fast' ;;
    build,-[Dl] | run,-[Dl] | build,--[cl]*flags | run,--[cl]*flags) ;;
    build,-[IL] | run,-[IL] | tour,--watch-root) _loam_files '' ;;
    build,--cc | run,--cc) mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
    build,--stack | run,--stack) _loam_words 'slots small' ;;
    build,--sanitize | run,--sanitize) _loam_words 'address thread undefined' ;;
    build,--variant | run,--variant) _loam_words 'release debug torture asan tsan ubsan' ;;
    *)
        if [[ $word == -* ]]; then
            _loam_words "$options"
        elif [[ $command == build || $command == run ]]; then
            _loam_files '*.[cSsoa]'
        elif [ "$command" = env ]; then
            _loam_words "$("${COMP_WORDS[0]/#\~/$HOME}" env 2>/dev/null | sed -n 's/=.*//p')"
        elif [ "$command" = tour ]; then
            _loam_words "$("${COMP_WORDS[0]/#\~/$HOME}" tour --list 2>/dev/null | sed 's/ .*//')"
        fi
        ;;
    esac
}
complete -F _loam loam
