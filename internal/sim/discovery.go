package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/registry"
)

// registry registers an instance, under an ID of its own or one that others want as well, changes it, and takes it back.
func (a *actor) registry() {
	topic := a.topic()
	ctx, cancel := a.patience()
	defer cancel()
	in := registry.Instance{ID: a.name, Addr: fmt.Sprintf("10.0.%d.%d:80", a.process.id, a.id)}
	if a.r.IntN(3) == 0 {
		in.ID = "one"
	}
	r, err := registry.Register(ctx, a.session(), topic, in)
	if !a.got(err) {
		return
	}
	a.s.world.count("registered")
	time.Sleep(a.pause())
	if a.r.IntN(2) == 0 {
		in.Weight = 1 + a.r.IntN(5)
		a.release(func(ctx context.Context) error { return r.Update(ctx, in) })
	}
	time.Sleep(a.pause())
	a.release(r.Deregister)
}

// lasting is the service in which each process has an instance from its first moment to its last.
const lasting = "lasting"

// settle registers the process for its whole life, and opens its directory.
func (pr *process) settle(ctx context.Context) (err error) {
	name := pr.node.Name()
	if pr.lasting, err = registry.Register(ctx, pr.session, lasting, registry.Instance{ID: name, Addr: "10.1.0.1:80"}); err != nil {
		return err
	}
	pr.directory, err = registry.OpenDirectory(ctx, pr.client)
	return err
}

// knows says whom the directory of a process still misses, or has too many.
func (pr *process) knows(want map[string][]string) (wrong string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // once it was loaded, it waits for nobody
	defer cancel()
	got := map[string][]string{}
	for _, service := range pr.directory.Services() {
		entries, err := pr.directory.Instances(ctx, service)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.Stale {
				return fmt.Sprintf("%s of %s is stale", e.ID, service)
			}
			got[service] = append(got[service], e.ID)
		}
	}
	for service := range want {
		slices.Sort(got[service])
		if !slices.Equal(got[service], want[service]) {
			return fmt.Sprintf("%s has %q, not %q", service, got[service], want[service])
		}
		delete(got, service)
	}
	for service, ids := range got {
		if len(ids) > 0 {
			return fmt.Sprintf("%s has %q, not nobody", service, ids)
		}
	}
	return ""
}

// checkDirectories has all directories show whoever is registered, in a while. Half of the processes leave then, and that is to be seen.
func (s *scenario) checkDirectories() {
	all := map[string][]string{}
	for _, pr := range s.processes {
		all[lasting] = append(all[lasting], pr.node.Name())
	}
	s.agree(all)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	left := s.processes[0]
	if err := left.lasting.Deregister(ctx); err != nil {
		s.world.complain("%s cannot leave: %v", left.node.Name(), err)
	}
	all[lasting] = all[lasting][1:]
	s.agree(all)
}

func (s *scenario) agree(want map[string][]string) {
	for _, pr := range s.processes {
		wrong := pr.knows(want)
		for end := s.etcd.Now() + patience; wrong != "" && s.etcd.Now() < end; wrong = pr.knows(want) {
			time.Sleep(100 * time.Millisecond)
		}
		if wrong != "" {
			s.world.complain("the directory of %s is wrong %v after the last change: %s", pr.node.Name(), patience, wrong)
			return
		}
	}
}

// checkOwners looks at who has registered over whom. In calm nobody ever does: whoever stands there lives.
func (w *world) checkOwners() {
	owners := map[string]int64{}
	for _, ev := range w.etcd.Events() {
		key := string(ev.Kv.Key)
		if !strings.HasPrefix(key, "services/") {
			continue
		}
		if ev.Type == clientv3.EventTypeDelete {
			delete(owners, key)
			continue
		}
		if before := owners[key]; before != 0 && before != ev.Kv.Lease {
			w.complain("%s, which lease %x has, was registered under %x at revision %d", key, before, ev.Kv.Lease, ev.Revision)
		}
		owners[key] = ev.Kv.Lease
		w.count("registered in calm")
	}
}
