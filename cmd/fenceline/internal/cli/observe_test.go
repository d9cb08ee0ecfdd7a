package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/elect"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// sightings waits until so many lines of JSON are on stdout, and reads them.
func (w *wrapper) sightings(n int) []elect.Sighting {
	w.t.Helper()
	var seen []elect.Sighting
	etcdtest.Eventually(w.t, 10*time.Second, "lines of JSON", func() bool {
		text := w.stdout()
		if strings.Count(text, "\n") < n {
			return false
		}
		seen = nil
		for line := range strings.Lines(text) {
			var s elect.Sighting
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				w.t.Fatal(err)
			}
			seen = append(seen, s)
		}
		return true
	})
	return seen
}

// stand puts a candidate's key under a lease, which ends it when it is revoked.
func stand(t *testing.T, client *clientv3.Client, key, value string) (revoke func()) {
	t.Helper()
	lease, err := client.Grant(t.Context(), 60)
	if err == nil {
		_, err = client.Put(t.Context(), key, value, clientv3.WithLease(lease.ID))
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestObserveShowsTheLeaderAndThenEachChange(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	key := "fenceline/election/" + name + "/1a"
	w := started(t, m.Endpoint(), "observe", name, "-o", "json")
	if seen := w.sightings(1); seen[0].Leader != nil {
		t.Errorf("%+v, want nobody", seen)
	}
	revoke := stand(t, client, key, "one <é>")
	w.sightings(2)
	client.Put(t.Context(), key, "two", clientv3.WithIgnoreLease())
	w.sightings(3)
	revoke()
	seen := w.sightings(4)
	if one, two := seen[1].Leader, seen[2].Leader; one == nil || two == nil || one.Value != "one <é>" || two.Value != "two" ||
		one.Key != key || one.Token == 0 || one.Token != two.Token || seen[3].Leader != nil {
		t.Errorf("%s", w.stdout())
	}
	w.signal(syscall.SIGINT)
	w.exits(0)
	if w.stderr() != "" {
		t.Errorf("stderr %q, want silence", w.stderr())
	}
}

func TestObserveShowsATableThatNoValueCanBreak(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	stand(t, client, "fenceline/election/"+name+"/1a", "\x1b[2J\n"+strings.Repeat("x", 200))
	w := started(t, m.Endpoint(), "observe", name)
	etcdtest.Eventually(t, 10*time.Second, "two lines", func() bool { return strings.Count(w.stdout(), "\n") == 2 })
	w.signal(syscall.SIGTERM)
	w.exits(0)
	if got := w.stdout(); strings.Contains(got, "\x1b") || !strings.Contains(got, "\\x1b[2J") || strings.Contains(got, strings.Repeat("x", 100)) || !strings.HasPrefix(got, "TIME") {
		t.Errorf("%q", got)
	}
}

func TestObserveOnceIs1WhenNobodyLeads(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{name}, 1, "", "nobody leads election"},
		{[]string{name, "-o", "json"}, 1, `"leader":null`, ""},
		{[]string{name + "-led"}, 0, "http://a:1", ""},
		{[]string{name + "-led", "-o", "json"}, 0, `"value":"http://a:1"`, ""},
		{[]string{name + "-led", "--namespace", "other/"}, 1, "", "nobody leads"},
	} {
		if strings.HasSuffix(test.args[0], "-led") {
			stand(t, client, "fenceline/election/"+test.args[0]+"/1a", "http://a:1")
		}
		code, stdout, stderr := fenceline(append([]string{"observe", "--once", "--endpoints", m.Endpoint()}, test.args...)...)
		if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) || test.stdout == "" && stdout != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q", test.args, code, stdout, stderr)
		}
	}
}

func TestObserveOfUnreachableEtcdIs69(t *testing.T) {
	for _, once := range []string{"--once=false", "--once"} {
		code, stdout, stderr := fenceline("observe", "x", once, "--endpoints", "127.0.0.1:1")
		if code != 69 || stdout != "" || !strings.Contains(stderr, "cannot reach etcd at 127.0.0.1:1") {
			t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	}
}

func TestCompletionKnowsElections(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	stand(t, m.Client(t), "fenceline/election/"+name+"/1a", "")
	for _, command := range []string{"elect", "observe"} {
		code, stdout, _ := fenceline("__complete", command, "--endpoints", m.Endpoint(), name[:len(name)-2])
		if code != 0 || !slices.Contains(strings.Split(stdout, "\n"), name) {
			t.Errorf("%s: code %d, %q", command, code, stdout)
		}
	}
}
