// Command mutants seeds one fault after the other into the library, and says after how many seeds the simulator finds it. One that is not
// found within -seeds is a failure: of the simulator, or of the fault, which changes nothing that was promised.
//
//	go run ./internal/sim/mutants [-seeds 2000] [-only NAME]
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// mutant replaces a piece of a file, which must be there once. One that shows when one thing goes wrong, and is rare when all do, names its
// scenario.
type mutant struct{ name, file, old, new, scenario string }

var mutants = []mutant{
	{"a write that may be given up does not compare the session's record", "internal/keeper/undoable.go", "If(append(a.If, e.recordAt(sent))...)", "If(a.If...)", ""},
	{"a write that was given up may still happen", "internal/keeper/undoable.go", "\tif u.unknown {\n\t\tanswers,", "\tif false {\n\t\tanswers,", ""},
	{"all grants of an entry have one token", "internal/line/local.go", "h.attempt.turns.of(h.number)", "0", ""},
	{"a renewal counts from its answer", "internal/keeper/keep.go", "e.extend(a.t0, a.ttl)", "e.extend(k.clock.Elapsed(), a.ttl)", "answers grow late"},
	{"a lease is trusted for longer than it lives", "internal/keeper/deadline.go", "t0 + ttl*99/100 - max(250*time.Millisecond, ttl/20)", "t0 + ttl*102/100", ""},
	{"an entry before the last is overlooked", "internal/queue/policy.go", "func nearest(ahead []Entry) int { return len(ahead) - 1 }", "func nearest(ahead []Entry) int { return len(ahead) - 2 }", ""},
	{"a reader overlooks the nearest writer", "internal/queue/policy.go", "for i := len(ahead) - 1; i >= 0; i-- {\n\t\tif !reads", "for i := len(ahead) - 2; i >= 0; i-- {\n\t\tif !reads", ""},
	{"a list that is older than the entry is believed", "internal/queue/policy.go", "if revision < mine.Create {\n\t\treturn Undecided, Entry{}\n\t}", "if revision < mine.Create {\n\t\treturn Granted, Entry{}\n\t}", ""},
	{"a semaphore has one unit more", "semaphore/policy.go", "sum(ahead)+n > limit", "sum(ahead)+n > limit+1", ""},
	{"an entry whose guard was seen is handed on", "internal/line/next.go", "case a.uses > 0 && (a.exposed || a.turns.full() || m.isTurnOver(a, w)):", "case a.uses > 0 && m.isTurnOver(a, w):", ""},
	{"a guard forgets which entry it was", "internal/line/send.go", "\t\tclientv3.Compare(clientv3.CreateRevision(s.key), \"=\", s.entry.Create),\n", "", ""},
	{"a tick is claimed without looking at the record", "cron/claim.go", "If(clientv3.Compare(clientv3.ModRevision(j.prefix+main), \"=\", s.modified),\n\t\t\tclientv3.Compare(clientv3.ModRevision(j.prefix+claimKey(c.slot)), \"=\", c.claim)).", "If().", ""},
	{"a round is published over another", "barrier/place.go", "return []clientv3.Cmp{at.unwritten(s)}, clientv3.OpTxn", "return nil, clientv3.OpTxn", ""},
	{"a party that was late loses its key", "barrier/withdraw.go", "if !in { // else it is still inside", "if true {", "parties are late"},
	{"a registration does not look at what stands there", "registry/put.go", "If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(r.key), \"=\", r.mod)},", "", ""},
	{"a release deletes by key alone", "internal/line/leave.go", "\t\tours := a.stands(i)\n", "\t\tvar ours []clientv3.Cmp\n", ""},
	{"Lead resigns when its caller has had enough", "election/lead.go", "\treturn false, fn(inside, t)\n",
		"\tcontext.AfterFunc(ctx, func() { _ = t.Resign(context.WithoutCancel(ctx)) })\n\treturn false, fn(inside, t)\n", ""},
	{"a latch counts an id twice", "barrier/latch.go", "[]clientv3.Cmp{absent(counted), absent(l.opened)}", "[]clientv3.Cmp{absent(l.opened)}", ""},
	{"a gate is opened that was closed since", "barrier/gate.go", "If(clientv3.Compare(clientv3.ModRevision(g.key), \"=\", closed)).", "If().", ""},
	{"nobody is woken by what a watch tells", "internal/line/watching.go", "\t\tv.apply(events)\n\t\tm.changed(v.i)\n", "\t\tv.apply(events)\n", ""},
	{"a session's end leaves its lease", "internal/keeper/close.go", "return k.persist(ctx, etcd.Final, func(ctx context.Context) error { return k.leases.Revoke(ctx, l.id) })", "return nil", ""},
}

var (
	seeds = flag.Int("seeds", 2000, "how many are tried")
	only  = flag.String("only", "", "those whose name contains this")
)

func main() {
	flag.Parse()
	root, err := os.Getwd()
	check(err)
	survivors := 0
	for _, m := range mutants {
		if !strings.Contains(m.name, *only) {
			continue
		}
		dir, err := os.MkdirTemp("", "mutant")
		check(err)
		binary, err := m.build(root, dir)
		check(err)
		switch seed, what := m.hunt(binary); {
		case seed == 0:
			survivors++
			fmt.Printf("%-55s  SURVIVES %d seeds\n", m.name, *seeds)
		default:
			fmt.Printf("%-55s  %5d  %s\n", m.name, seed, strings.TrimSpace(m.scenario+"  "+what))
		}
		check(os.RemoveAll(dir))
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// build compiles the simulator with the fault, which no file in the tree shows.
func (m mutant) build(root, dir string) (string, error) {
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w (this runs in the root of the repository)", err)
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("%s: what is to be replaced is in %s %d times", m.name, m.file, n)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "sim.test")
	out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./internal/sim").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", m.name, err, out)
	}
	return binary, nil
}

// hunt returns the first seed that finds the fault, and what it says.
func (m mutant) hunt(binary string) (seed int, what string) {
	const share = 25
	var mu sync.Mutex
	next, found := 1, *seeds+1
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for {
				mu.Lock()
				from := next
				next += share
				over := from >= found
				mu.Unlock()
				if over {
					return
				}
				s, w := m.try(binary, from, min(share, *seeds-from+1))
				mu.Lock()
				if s > 0 && s < found {
					found, what = s, w
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if found > *seeds {
		return 0, ""
	}
	return found, what
}

var running = regexp.MustCompile(`=== RUN +TestSeeds/seed=([0-9]+)`)

// try runs a share of seeds. One that crashes or does not end has found something as well.
func (m mutant) try(binary string, from, n int) (seed int, what string) {
	cmd := exec.Command(binary, "-test.run=^TestSeeds$", "-sim.share", "-sim.scenario="+m.scenario, fmt.Sprintf("-sim.first=%d", from), fmt.Sprintf("-sim.seeds=%d", n), "-test.timeout=3m", "-test.v")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400") // a quarter of the time is the collector's else
	out, _ := cmd.CombinedOutput()                             // it fails when it has found something
	_, line, ended := strings.Cut(string(out), "\nSHARE ")
	if !ended {
		all := running.FindAllStringSubmatch(string(out), -1)
		if len(all) == 0 {
			return from, "it does not run"
		}
		_, _ = fmt.Sscan(all[len(all)-1][1], &seed) // digits
		return seed, "it does not end"
	}
	var r struct{ Violations map[int][]string }
	check(json.Unmarshal([]byte(line[:strings.IndexByte(line, '\n')]), &r))
	for s, v := range r.Violations {
		if seed == 0 || s < seed {
			seed, what = s, v[0]
		}
	}
	return seed, what
}
