# bash completion for loam(1). What it offers is checked against each --help by a test.
_loam()
{
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local commands='run build env version tour help' command=${COMP_WORDS[1]} options files
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help" -- "$word")
        return
    fi
    case $command in
    run) options='--help' files='!*.c' ;;
    build) options='--help' files='!*.c' ;;
    env) options='--help' ;;
    version) options='--help' ;;
    tour) options='--help --watch-root' ;;
    help) options=$commands ;;
    *) return ;;
    esac
    case $previous in
    --watch-root)
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
        ;;
    -o | --output)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    esac
    mapfile -t COMPREPLY < <(
        compgen -W "$options" -- "$word"
        if [ -n "$files" ]; then
            compgen -f -X "$files" -- "$word"
            compgen -d -S / -- "$word"
        fi
    )
}
complete -o filenames -F _loam loam
