# SPDX-License-Identifier: MIT
# bash completion for hearth(1)

_hearth_models() {
	hearth ls --json 2>/dev/null | sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p'
}

_hearth() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd=${COMP_WORDS[1]}
	local commands="run chat load unload ls ps info status top forget tokenize logits bench devices doctor"
	local answer="--system --max-tokens --temperature --top-k --top-p --min-p --seed --background --stats --socket --help"

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands help --help --version" -- "$cur")
		return
	fi
	case $prev in
	--socket | --out)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--device)
		mapfile -t COMPREPLY < <(compgen -W "auto cpu vulkan vulkan:0 vulkan,cpu" -- "$cur")
		return
		;;
	esac
	case $cmd in
	help)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		;;
	run | chat)
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$answer" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W "$(_hearth_models)" -- "$cur"; compgen -f -X '!*.gguf' -- "$cur")
		fi
		;;
	load | unload)
		[ "$cmd" = load ] && answer="--pin" || answer="--force"
		mapfile -t COMPREPLY < <(compgen -W "$(_hearth_models) --socket $answer" -- "$cur"; compgen -f -X '!*.gguf' -- "$cur")
		;;
	info)
		mapfile -t COMPREPLY < <(compgen -W "$(_hearth_models) --context --kv-type --device --json --socket --help" -- "$cur"; compgen -f -X '!*.gguf' -- "$cur")
		;;
	doctor)
		mapfile -t COMPREPLY < <(compgen -W "--root --json --help" -- "$cur")
		;;
	ls | ps | status)
		mapfile -t COMPREPLY < <(compgen -W "--json --socket --help" -- "$cur")
		;;
	top)
		mapfile -t COMPREPLY < <(compgen -W "--once --json --delay --socket --help" -- "$cur")
		;;
	forget)
		mapfile -t COMPREPLY < <(compgen -W "--user --socket --help" -- "$cur")
		;;
	devices)
		mapfile -t COMPREPLY < <(compgen -W "--json --help" -- "$cur")
		;;
	tokenize | logits | bench)
		local options="--help"
		[ "$cmd" = tokenize ] && options="--decode --special"
		[ "$cmd" = logits ] && options="--tokens --out --vector --device --full-barriers"
		[ "$cmd" = bench ] && options="-p -n -d -r --device --json"
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -f -X '!*.gguf' -- "$cur"; compgen -d -- "$cur")
		fi
		;;
	esac
}
complete -o filenames -F _hearth hearth
