package cli

import (
	"strings"
	"testing"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/rival/redis"
	"github.com/fenceline/fenceline/bench/subject"
	benchroom "github.com/fenceline/fenceline/cmd/fenceline/internal/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestRivalThatCannotBeReachedIs69AndNamed(t *testing.T) {
	for flag, want := range map[string]string{"--redis=127.0.0.1:1": "cannot reach Redis at 127.0.0.1:1", "--postgres=postgres://a@127.0.0.1:1/b": "cannot reach PostgreSQL at 127.0.0.1:1"} {
		code, stdout, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "1", "--rounds", "1", "--duration", "100ms", flag)
		if code != 69 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d: %s%s", flag, code, stdout, stderr)
		}
	}
}

func TestRivalsStandBeforeTheSubjectToWhichTheRatiosAre(t *testing.T) {
	subjects, err := subject.ByName("fenceline", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	local, err := subject.ByName("local")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range benchroom.Beside(subjects, local) {
		names = append(names, s.Name())
	}
	if got := strings.Join(names, " "); got != "fenceline local etcd" || len(benchroom.Beside([]bench.Subject{}, local)) != 1 {
		t.Error(got)
	}
}

func TestSubjectsThatNameARivalLeaveOutTheOthers(t *testing.T) {
	local, err := subject.ByName("fenceline", "etcd", "local")
	if err != nil {
		t.Fatal(err)
	}
	f := benchroom.Flags{Subjects: []string{"local", "fenceline"}, Rivals: benchroom.RivalFlags{Start: "auto"}}
	chosen, err := f.Chosen(local[:1], local[1:]) // as if etcd and local were rivals
	if err != nil || len(chosen) != 2 || chosen[0].Name() != "local" || chosen[1].Name() != "fenceline" {
		t.Errorf("%v, %v", chosen, err)
	}
	f.Subjects = []string{"fenceline", "none"}
	if _, err := f.Chosen(local[:1], local[1:]); err == nil || !strings.Contains(err.Error(), "none: it is neither a lock on etcd nor one of etcd, local") {
		t.Errorf("got %v", err)
	}
}

func TestBenchStartsTheServersOfRivals(t *testing.T) {
	if !redis.Installed() {
		t.Skip("redis-server is not installed")
	}
	code, stdout, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "2", "--rounds", "1", "--duration", "300ms", "--rivals", "auto")
	if code != 0 || !strings.Contains(stdout, "redsync-fsync-always") || !strings.Contains(stdout, "redsync-memory") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}
