package rival_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/rival"
	"github.com/fenceline/fenceline/bench/rival/postgres"
	"github.com/fenceline/fenceline/bench/rival/redis"
	"github.com/fenceline/fenceline/bench/rival/zookeeper"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// rivals are those whose servers are installed here, each on one of its own.
var rivals = map[string]struct {
	installed func() bool
	start     func(context.Context) (*rival.Server, error)
	subject   func(context.Context, *rival.Server) (bench.Subject, error)
}{
	"redsync-fsync-always": {redis.Installed, func(ctx context.Context) (*rival.Server, error) { return redis.Start(ctx, true) },
		func(ctx context.Context, s *rival.Server) (bench.Subject, error) { return redis.New(ctx, s.Addr) }},
	"redsync-memory": {redis.Installed, func(ctx context.Context) (*rival.Server, error) { return redis.Start(ctx, false) },
		func(ctx context.Context, s *rival.Server) (bench.Subject, error) { return redis.New(ctx, s.Addr) }},
	"pg-advisory-memory": {postgres.Installed, postgres.Start,
		func(ctx context.Context, s *rival.Server) (bench.Subject, error) {
			return postgres.New(ctx, postgres.URL(s))
		}},
	"zk-lock-fsync": {zookeeper.Installed, zookeeper.Start,
		func(ctx context.Context, s *rival.Server) (bench.Subject, error) { return zookeeper.New(ctx, s.Addr) }},
}

// Each excludes, for the benchmark checks that, and its server leaves nothing behind.
func TestRivalsTakeTurnsAndLeaveNothing(t *testing.T) {
	for name, r := range rivals {
		t.Run(name, func(t *testing.T) {
			if !r.installed() {
				t.Skip("its server is not installed")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			server, err := r.start(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(server.Dir); !os.IsNotExist(err) {
					t.Errorf("%s is left: %v", server.Dir, err)
				}
			}()
			s, err := r.subject(ctx, server)
			if err != nil {
				text, _ := os.ReadFile(filepath.Join(server.Dir, "log"))
				t.Fatalf("%v\n%s", err, text)
			}
			cfg := bench.Defaults()
			cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
			cfg.Subjects, cfg.Rounds, cfg.Duration, cfg.WarmUp = []bench.Subject{s}, 1, 500*time.Millisecond, 100*time.Millisecond
			cfg.Cells = []bench.Cell{{Contenders: 3, Goroutines: 2, Hold: time.Millisecond}}
			result, err := bench.Run(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			m := result.Cells[0].Subjects[0]
			if m.Subject != name || m.Acquisitions == 0 || m.Errors > 0 || m.Cost.Requests() > 0 {
				t.Errorf("%s: %d acquisitions, %d errors: %s; %+v", m.Subject, m.Acquisitions, m.Errors, m.FirstError, m.Cost)
			}
		})
	}
}

func TestRivalHasNoTokens(t *testing.T) {
	s := rival.Subject("x", func(context.Context, bench.Place) (rival.Contender, error) { return nobody{}, nil })
	c, err := s.Join(t.Context(), bench.Place{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Locker(t.Context(), []string{"a"})
	if _, fenced := l.(bench.Fenced); err != nil || fenced {
		t.Errorf("%v, fenced: %v", err, fenced)
	}
}

type nobody struct{}

func (nobody) Lock(context.Context, string) (rival.Lock, error) { return nil, nil }
func (nobody) Close(context.Context) error                      { return nil }

func TestServerThatDoesNotStartSaysWhyAndLeavesNothing(t *testing.T) {
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "fenceline-rival-*"))
	if _, err := rival.Start(t.Context(), "echo no space >&2; false", "true", "TERM"); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Error(err)
	}
	if after, _ := filepath.Glob(filepath.Join(os.TempDir(), "fenceline-rival-*")); len(after) > len(before) {
		t.Errorf("left: %v", after)
	}
}

func TestServerThatIsInterruptedWhileItStartsIsGoneAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	began := time.Now()
	_, err := rival.Start(ctx, "sleep 60", "sleep 60", "INT")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second { // it gets 10 s to end, once it serves
		t.Errorf("took %v", took)
	}
}
