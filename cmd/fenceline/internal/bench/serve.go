package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/workload"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// rivalsVariable tells a process where rivals are; not a flag, which everybody could read.
const rivalsVariable = "FENCELINE_BENCH_RIVALS"

// roles makes commands of this program that play roles of probes on the same cluster.
func roles(g *app.Globals, etcd clientv3.Config, at rivalAddresses) (func(role string) *exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	rivals, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	args := append([]string{"bench", "serve"}, g.Connection.SameCluster(etcd)...)
	return func(role string) *exec.Cmd {
		cmd := exec.Command(self, append(slices.Clip(args), role)...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // the flags say it all
			return strings.HasPrefix(v, "FENCELINE_") || strings.HasPrefix(v, "ETCDCTL_")
		})
		cmd.Env = append(cmd.Env, rivalsVariable+"="+string(rivals))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for us
		return cmd
	}, nil
}

// newBenchServeCommand is what probes start and kill.
func newBenchServeCommand(g *app.Globals) *cobra.Command {
	return &cobra.Command{
		Use:    "serve ROLE",
		Hidden: true,
		Args:   app.Takes("ROLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := g.Connection.Config()
			if err != nil {
				return err
			}
			var at rivalAddresses
			if text := os.Getenv(rivalsVariable); text != "" {
				if err := json.Unmarshal([]byte(text), &at); err != nil {
					return fmt.Errorf("%s: %w", rivalsVariable, err)
				}
			}
			rivals := func(ctx context.Context) ([]bench.Subject, error) { return at.connect(ctx) }
			return workload.Serve(cmd.Context(), args[0], rivals, config, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
