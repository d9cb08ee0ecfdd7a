package cli

import (
	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/registry"
)

// enumerations are the values of flags that take one of a few.
var enumerations = map[string][]string{
	"on-lost": {"kill", "term", "ignore"},
	"missed":  {"skip", "once", "all"},
	"rivals":  {"none", "auto"},
	"output":  {"table", "json"},
}

// verbKinds are commands that take the name of such a thing, or whose verbs do.
var verbKinds = map[string]string{"sem": app.SemaphoreKind, "gate": app.GateKind, "latch": app.LatchKind}

// completeRest gives completions to what has none of its own, all over the tree.
func completeRest(g *app.Globals, cmd *cobra.Command) {
	for flag, values := range enumerations {
		if cmd.Flags().Lookup(flag) == nil && cmd.PersistentFlags().Lookup(flag) == nil {
			continue
		}
		if cmd.Name() == "services" && flag == "output" {
			values = append(values[:len(values):len(values)], string(registry.OutputPrometheus))
		}
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // it fails for one that has its own
	}
	kind, takes := verbKinds[cmd.Name()]
	for _, verb := range append([]*cobra.Command{cmd}, cmd.Commands()...) {
		if takes && verb.ValidArgsFunction == nil {
			verb.ValidArgsFunction = app.CompleteKind(g, kind)
		}
	}
	for _, verb := range cmd.Commands() {
		completeRest(g, verb)
	}
}
