package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func directory(t *testing.T, client *clientv3.Client, opts ...DirectoryOption) *Directory {
	t.Helper()
	d, err := OpenDirectory(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// shows is the IDs of a service; stale ones with a question mark.
func shows(t *testing.T, d *Directory, service string) string {
	t.Helper()
	entries, err := d.Instances(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		if e.Stale {
			e.ID += "?"
		}
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func wantShown(t *testing.T, d *Directory, service, ids string) {
	t.Helper()
	eventually(t, ids+" to be shown", func() bool { return shows(t, d, service) == ids })
}

func TestDirectoryFollowsEveryService(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	put(t, client, "services/"+name+"/a", `{"Addr":"a:1"}`)
	d := directory(t, client)
	if got := shows(t, d, name); got != "a" {
		t.Errorf("at the start: %s", got)
	}
	put(t, client, "services/"+name+"/b", `{"Addr":"a:1"}`)
	put(t, client, "services/"+name+"2/c", `{"Addr":"a:1"}`)
	put(t, client, "services/"+name+"/bad", `bad`)
	wantShown(t, d, name, "a b")
	wantShown(t, d, name+"2", "c")
	remove(t, client, "services/"+name+"2/c")
	wantShown(t, d, name+"2", "")
	if err := d.Healthy(); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Instances(t.Context(), name); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func TestReadsOfAnUnchangedSetAllocateNothing(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	for i := range 10 {
		put(t, client, fmt.Sprintf("services/%s/%d", name, i), `{"Addr":"a:1"}`)
	}
	d := directory(t, client, WithPrefix("services/"))
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if entries, err := d.Instances(ctx, name); err != nil || len(entries) != 10 {
			t.Fatal(entries, err)
		}
	}); n != 0 {
		t.Errorf("Instances: %v", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := d.Pick(ctx, name); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Pick: %v", n)
	}
}

func TestSessionsThatAllEndAtOnceStayAsStale(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		put(t, client, fmt.Sprintf("services/%s/%d", name, i), `{"Addr":"a:1"}`, clientv3.WithLease(lease.ID))
	}
	d := directory(t, client, WithPreservation(0.2, 500*time.Millisecond, 2*time.Second))
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	wantShown(t, d, name, "0? 1? 2? 3? 4? 5?")
	if in, err := d.Pick(t.Context(), name); err != nil || in.Addr != "a:1" {
		t.Errorf("%v, %v", in, err)
	}
	put(t, client, "services/"+name+"/3", `{"Addr":"b:1"}`)
	wantShown(t, d, name, "0? 1? 2? 3 4? 5?")
	picked := map[string]int{}
	for range 600 {
		in, err := d.Pick(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		picked[in.ID]++
	}
	for id, n := range picked {
		if len(picked) != 6 || n < 50 || n > 200 {
			t.Errorf("%s is picked %d times of 600, though nothing was known of it before, either", id, n)
		}
	}
	wantShown(t, d, name, "3")
}

func TestOneThatDiesGoesAtOnceAndAllThatLeaveDoToo(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	s := opened(t, client)
	var rs []*Registration
	for i := range 6 {
		rs = append(rs, registered(t, s, name, Instance{ID: fmt.Sprint(i), Addr: "a:1"}))
	}
	put(t, client, "services/"+name+"/dies", `{"Addr":"a:1"}`)
	d := directory(t, client)
	remove(t, client, "services/"+name+"/dies")
	wantShown(t, d, name, "0 1 2 3 4 5")
	for _, r := range rs {
		if err := r.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantShown(t, d, name, "")
}

func TestLastGoodSetStaysWhileEtcdIsAway(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	put(t, client, "services/"+name+"/a", `{"Addr":"a:1"}`)
	d := directory(t, client)
	m.Kill()
	eventually(t, "to know that", func() bool { return d.Healthy() != nil })
	if got := shows(t, d, name); got != "a" {
		t.Errorf("%s", got)
	}
	m.Restart(t)
	put(t, client, "services/"+name+"/b", `{"Addr":"a:1"}`)
	wantShown(t, d, name, "a b")
	if err := d.Healthy(); err != nil {
		t.Error(err)
	}
}

func TestClientStartsFromASnapshotWhileEtcdIsAway(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), service(t)
	file := filepath.Join(t.TempDir(), "services.json")
	put(t, client, "services/"+name+"/a", `{"Addr":"a:1","Weight":3,"Metadata":{"k":"v"}}`)
	put(t, client, "services/"+name+"/b", `{"Addr":"a:1"}`)
	d, err := OpenDirectory(t.Context(), client, WithSnapshot(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	remove(t, client, "services/"+name+"/b")
	m.Kill()
	d = directory(t, m.Client(t), WithSnapshot(file))
	entries, err := d.Instances(t.Context(), name)
	if err != nil || shows(t, d, name) != "a? b?" || entries[0].Weight != 3 || entries[0].Meta["k"] != "v" {
		t.Errorf("%+v, %v", entries, err)
	}
	if d.Healthy() == nil {
		t.Error("healthy")
	}
	m.Restart(t)
	wantShown(t, d, name, "a")
}

func TestFileThatIsNoSnapshotIsAnErrorAndStaysAsItIs(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	file := filepath.Join(t.TempDir(), "services.json")
	for what, text := range map[string]string{"no JSON": "{", "another's": `{"precious": true}`, "another schema": `{"schema":"x"}`, "another prefix": `{"schema":"fenceline.directory/v1","prefix":"other/"}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDirectory(t.Context(), client, WithSnapshot(file)); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", what, err)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != text {
			t.Errorf("%s: now %q, %v", what, now, err)
		}
	}
	nowhere := filepath.Join(t.TempDir(), "missing", "services.json")
	if _, err := OpenDirectory(t.Context(), client, WithSnapshot(nowhere)); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("no folder: %v", err)
	}
}

func TestSnapshotByHandIsReadAsFarAsItIsRight(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	m.Kill()
	file := filepath.Join(t.TempDir(), "services.json")
	text := `{"schema":"fenceline.directory/v1","prefix":"services/","services":{"web":[{"ID":"a","Addr":"1.2.3.4:80","Status":"up"},{"Addr":"1.2.3.5:80"},{"ID":"bad"},{"ID":"w","Addr":"1.2.3.6:80","Weight":-1}]}}`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := directory(t, client, WithSnapshot(file))
	if got := shows(t, d, "web"); got != "1.2.3.5:80? a?" {
		t.Errorf("%s", got)
	}
	for range 100 {
		if _, err := d.Pick(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmptyEtcdEmptiesNoSnapshot(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	file := filepath.Join(t.TempDir(), "services.json")
	text := `{"schema":"fenceline.directory/v1","prefix":"services/","services":{"web":[{"ID":"a","Addr":"1.2.3.4:80"},{"ID":"b","Addr":"1.2.3.5:80"}]}}`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := directory(t, client, WithSnapshot(file), WithPreservation(0.2, 200*time.Millisecond, 500*time.Millisecond))
	if got := shows(t, d, "web"); got != "a? b?" {
		t.Errorf("at the start: %s", got)
	}
	wantShown(t, d, "web", "")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(file); string(now) != text {
		t.Errorf("now %s", now)
	}
	d = directory(t, client, WithSnapshot(file))
	put(t, client, "services/web/c", `{"Addr":"1.2.3.6:80"}`)
	eventually(t, "the new one", func() bool { return strings.Contains(shows(t, d, "web"), "c") })
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if now, _ := os.ReadFile(file); !strings.Contains(string(now), "1.2.3.6:80") || err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("now %s, %v, %v", now, info.Mode(), err)
	}
}

func TestPickIsByWeightAmongThoseThatAreUpOfTheZoneFirst(t *testing.T) {
	entry := func(id string, weight int, status Status, zone string, stale bool) Entry {
		return Entry{Instance{ID: id, Weight: weight, Status: status, Zone: zone}, stale}
	}
	for what, c := range map[string]struct {
		zone    string
		entries []Entry
		want    map[string]float64
	}{
		"nobody":            {"", nil, nil},
		"nobody up":         {"", []Entry{entry("a", 1, Draining, "", false), entry("b", 1, Starting, "", false)}, nil},
		"by weight":         {"", []Entry{entry("a", 1, Up, "", false), entry("b", 3, Up, "", false), entry("c", 4, Draining, "", false)}, map[string]float64{"a": 0.25, "b": 0.75}},
		"of the zone":       {"z", []Entry{entry("a", 9, Up, "y", false), entry("b", 1, Up, "z", false)}, map[string]float64{"b": 1}},
		"nobody there":      {"z", []Entry{entry("a", 9, Up, "y", false), entry("b", 1, Draining, "z", false)}, map[string]float64{"a": 1}},
		"stale as before":   {"", []Entry{entry("a", 1, Up, "", false), entry("b", 3, Up, "", true)}, map[string]float64{"a": 0.25, "b": 0.75}},
		"stale of the zone": {"z", []Entry{entry("a", 1, Up, "y", false), entry("b", 9, Up, "z", true)}, map[string]float64{"b": 1}},
		"a status of later": {"", []Entry{entry("a", 1, "resting", "", false), entry("b", 1, Up, "", false)}, map[string]float64{"b": 1}},
	} {
		l := listingOf(c.entries, c.zone)
		if len(l.picks) == 0 {
			if len(c.want) > 0 {
				t.Errorf("%s: nobody", what)
			}
			continue
		}
		got := map[string]float64{}
		const n = 20_000
		for range n {
			got[l.entries[l.picks[l.draw()].at].ID] += 1.0 / n
		}
		for id, share := range got {
			if d := share - c.want[id]; d > 0.02 || d < -0.02 {
				t.Errorf("%s: %s is picked %.2f of the times, want %.2f", what, id, share, c.want[id])
			}
		}
	}
	client := etcdtest.Shared(t).Client(t)
	if _, err := directory(t, client).Pick(t.Context(), "nobody"); !errors.Is(err, ErrNoInstance) || !strings.Contains(err.Error(), `"nobody"`) {
		t.Error(err)
	}
}

func TestBadOptionsOfADirectoryAreRefused(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	for what, opt := range map[string]DirectoryOption{"share": WithPreservation(1.5, time.Second, time.Second), "window": WithPreservation(0.2, 0, time.Second),
		"keep": WithPreservation(0.2, time.Second, -1), "prefix": WithPrefix("")} {
		if _, err := OpenDirectory(t.Context(), client, opt); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadsDuringChangesSeeWholeSets(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	for i := range 8 {
		put(t, client, fmt.Sprintf("services/%s/%d", name, i), `{"Addr":"a:1"}`)
	}
	d := directory(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if entries, err := d.Instances(t.Context(), name); err != nil || len(entries) != 8 {
				t.Errorf("%d, %v", len(entries), err)
				return
			}
			if _, err := d.Pick(t.Context(), name); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for i := range 200 {
		put(t, client, fmt.Sprintf("services/%s/%d", name, i%8), fmt.Sprintf(`{"Addr":"a:1","Weight":%d}`, i+1))
	}
	eventually(t, "the last change", func() bool {
		entries, err := d.Instances(t.Context(), name)
		return err == nil && entries[7].Weight == 200
	})
	cancel()
	<-done
}

func BenchmarkDirectoryRead(b *testing.B) {
	d := &Directory{}
	shown := map[string]*listing{}
	for s := range 100 {
		var entries []Entry
		for i := range 100 {
			entries = append(entries, Entry{Instance: Instance{ID: fmt.Sprint(i), Status: Up, Weight: 1}})
		}
		shown[fmt.Sprintf("service-%d", s)] = listingOf(entries, "")
	}
	d.shown.Store(&shown)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Run("Instances", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if entries, _ := d.Instances(ctx, "service-7"); len(entries) != 100 {
				b.Fatal(len(entries))
			}
		}
	})
	b.Run("Pick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Pick(ctx, "service-7"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
