/**
 * What each shell has to be told, once, so that it asks `haus completion suggest` at each TAB. That
 * one prints a line for each word, with what it means after a tab, and `:file` for names on disk.
 */

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

export const completionScripts: Readonly<Record<Shell, string>> = {
  bash: `# bash completion of haus; in ~/.bashrc: source <(haus completion bash)
_haus() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == :file ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r line; do
        COMPREPLY+=("$line")
      done < <(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")
    else
      COMPREPLY+=("\${line%%$'\\t'*}")
    fi
  done < <("\${COMP_WORDS[0]}" completion suggest -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _haus haus
`,
  zsh: `#compdef haus
# zsh completion of haus; in ~/.zshrc, after compinit: source <(haus completion zsh)
_haus() {
  local line tab=$'\\t'
  local -a lines described
  lines=("\${(@f)$("\${words[1]}" completion suggest -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "\${lines[@]}"; do
    if [[ $line == :file ]]; then
      _files
    elif [[ -n $line ]]; then
      described+=("\${\${line%%$tab*}//:/\\\\:}:\${line#*$tab}")
    fi
  done
  (( \${#described} )) && _describe haus described
}
if [[ \${funcstack[1]} == _haus ]]; then _haus "$@"; else compdef _haus haus; fi
`,
  fish: `# fish completion of haus: haus completion fish > ~/.config/fish/completions/haus.fish
function __haus_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] completion suggest -- $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = :file
            __fish_complete_path "$current"
        else
            printf '%s\\n' $line
        end
    end
end
complete --command haus --no-files --arguments '(__haus_complete)'
`,
}
