// Package workload lists the workloads of the benchmark. A new one is a folder beside those below, with a bench.Load
// and the subjects that can stand it, and a line in All.
package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/takeover"
	"github.com/fenceline/fenceline/bench/workload/all"
	"github.com/fenceline/fenceline/bench/workload/barrier"
	"github.com/fenceline/fenceline/bench/workload/elect"
	"github.com/fenceline/fenceline/bench/workload/mutex"
	"github.com/fenceline/fenceline/bench/workload/registry"
	"github.com/fenceline/fenceline/bench/workload/rw"
	"github.com/fenceline/fenceline/bench/workload/semaphore"
)

// All is every workload there is. The first one is what is meant when none is named.
func All() []bench.Workload {
	return []bench.Workload{mutex.Workload(), rw.Workload(), all.Workload(), semaphore.Workload(), elect.Workload(),
		barrier.Workload(), registry.Workload()}
}

// Rivals makes subjects of the first workload that are not on etcd, when one of them is asked for.
type Rivals func(context.Context) ([]bench.Subject, error)

// Serve plays a role of a probe, as bench.Config.Command says. rivals may be nil.
func Serve(ctx context.Context, role string, rivals Rivals, etcd clientv3.Config, in io.Reader, out io.Writer) error {
	switch role {
	case takeover.Role:
		return takeover.Serve(ctx, rivals.find, etcd, in, out)
	case registry.Role:
		return registry.Serve(ctx, etcd, in, out)
	}
	return fmt.Errorf("bench: no probe has the role %q", role)
}

func (r Rivals) find(ctx context.Context, workload, subject string) (bench.Subject, bench.Load, error) {
	all := All()
	i := slices.IndexFunc(all, func(w bench.Workload) bool { return w.Name == workload })
	if i < 0 || all[i].Exclusive == nil {
		return nil, nil, bench.Invalid("workload is %q, want one with a lock to hold", workload)
	}
	subjects, err := all[i].Subjects.ByName(subject)
	if err == nil {
		return subjects[0], all[i].Exclusive, nil
	}
	if r == nil {
		return nil, nil, err
	}
	others, failed := r(ctx)
	if j := slices.IndexFunc(others, func(s bench.Subject) bool { return s.Name() == subject }); j >= 0 {
		return others[j], all[i].Exclusive, nil
	}
	return nil, nil, errors.Join(err, failed)
}
