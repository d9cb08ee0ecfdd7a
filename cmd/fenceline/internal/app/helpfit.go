package app

import (
	"cmp"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// HelpWidth is how wide help is where nobody can be asked.
const HelpWidth = 80

// cobra has one table of these, for the whole process, that it does not guard: they go in once, before anything runs.
func init() {
	cobra.AddTemplateFunc("fitFlags", func(cmd *cobra.Command, flags *pflag.FlagSet) string {
		return strings.TrimRight(flags.FlagUsagesWrapped(widthOfHelp(cmd)), "\n ")
	})
	cobra.AddTemplateFunc("fitText", func(cmd *cobra.Command, text string) string { return Reflowed(text, widthOfHelp(cmd)) })
}

func widthOfHelp(cmd *cobra.Command) int {
	if f, ok := cmd.OutOrStdout().(*os.File); ok {
		return min(cmp.Or(WidthOf(f), HelpWidth), 120)
	}
	return HelpWidth
}

// FitHelp has the help of all commands fit the terminal, or 80 columns: also what stands in their Long, where a paragraph is set anew, and
// a line that is indented hangs below its second column.
func FitHelp(root *cobra.Command) {
	usage := root.UsageTemplate()
	usage = strings.ReplaceAll(usage, ".LocalFlags.FlagUsages | trimTrailingWhitespaces", "fitFlags . .LocalFlags")
	usage = strings.ReplaceAll(usage, ".InheritedFlags.FlagUsages | trimTrailingWhitespaces", "fitFlags . .InheritedFlags")
	root.SetUsageTemplate(usage)
	root.SetHelpTemplate(`{{with (or .Long .Short)}}{{fitText $ . | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`)
}

// Reflowed sets text anew, in lines of at most width columns.
func Reflowed(text string, width int) string {
	var out []string
	paragraph := ""
	flush := func() {
		if paragraph != "" {
			out = append(out, hung(paragraph, width, 0)...)
		}
		paragraph = ""
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case line == "":
			flush()
			out = append(out, "")
		case line[0] != ' ':
			paragraph = strings.TrimSpace(paragraph + " " + line)
		default:
			flush()
			hang := hangOf(line)
			for i+1 < len(lines) && indentOf(lines[i+1]) >= max(hang, 6) && hang > indentOf(line) { // it goes on below
				i++
				line += " " + strings.TrimSpace(lines[i])
			}
			out = append(out, hung(line, width, hang)...)
		}
	}
	flush()
	return strings.Join(out, "\n")
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// hangOf is where a line's second column begins, behind two spaces or more, or its first.
func hangOf(line string) int {
	indent := indentOf(line)
	gap := strings.Index(line[indent:], "  ")
	if gap < 0 {
		return indent
	}
	return indent + gap + indentOf(line[indent+gap:])
}

// hung is a line in lines that are no wider than width, the second and later ones indented by hang. What has no spaces stays whole.
func hung(line string, width, hang int) (out []string) {
	for utf8.RuneCountInString(line) > width {
		end := strings.LastIndexByte(line[:len(string([]rune(line)[:width+1]))], ' ')
		if end <= hang {
			break
		}
		out = append(out, strings.TrimRight(line[:end], " "))
		line = strings.Repeat(" ", hang) + strings.TrimLeft(line[end:], " ")
	}
	return append(out, line)
}
