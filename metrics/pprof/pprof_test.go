package pprof_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	runtimepprof "runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/pprof/profile"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/metrics/pprof"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

func now(name string) (int, string) {
	p := runtimepprof.Lookup(name)
	var text bytes.Buffer
	_ = p.WriteTo(&text, 1)
	return p.Count(), text.String()
}

//go:noinline
func importOrders(t *testing.T, s *session.Session) *lock.Lock {
	l, err := lock.New(s, "orders").Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestHoldersAndWaitersAreThoseOfNowWithTheirStacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t, session.WithTrace(pprof.New().Trace()))
		l := importOrders(t, s)
		if n, stacks := now("fenceline.holders"); n != 1 || !strings.Contains(stacks, "importOrders") {
			t.Errorf("%d hold:\n%s", n, stacks)
		}
		got := make(chan *lock.Lock)
		go func() { got <- importOrders(t, s) }()
		synctest.Wait()
		if n, stacks := now("fenceline.waiters"); n != 1 || !strings.Contains(stacks, "importOrders") {
			t.Errorf("%d wait:\n%s", n, stacks)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := <-got
		if n, _ := now("fenceline.waiters"); n != 0 {
			t.Errorf("%d wait", n)
		}
		if n, _ := now("fenceline.holders"); n != 1 {
			t.Errorf("%d hold", n)
		}
		if _, err := etcd.Client(t).Revoke(t.Context(), s.Lease()); err != nil {
			t.Fatal(err)
		}
		<-second.Context().Done()
		synctest.Wait()
		if n, _ := now("fenceline.holders"); n != 0 {
			t.Errorf("%d hold after the loss", n)
		}
	})
}

func get(t *testing.T, h http.Handler, query string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/pprof/fenceline"+query, nil))
	return w
}

func TestContentionHasCountsAndNanosecondsByTheWaitersStack(t *testing.T) {
	var file string
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		p := pprof.New()
		s := etcd.Session(t, session.WithTrace(p.Trace()))
		for range 3 {
			l := importOrders(t, s)
			time.AfterFunc(2*time.Second, func() { _ = l.Release(context.Background()) })
			if err := importOrders(t, s).Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		permit, err := semaphore.New(s, "downloads", 1).Acquire(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := semaphore.New(s, "downloads", 1).Acquire(ctx, 1); err == nil {
			t.Error("two hold")
		}
		if err := permit.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		body := get(t, p, "").Body.Bytes()
		made, err := profile.ParseData(body)
		if err != nil {
			t.Fatal(err)
		}
		if err := made.CheckValid(); err != nil {
			t.Error(err)
		}
		if len(made.Sample) != 2 {
			t.Fatalf("%d samples", len(made.Sample))
		}
		most := made.Sample[0]
		if most.Label["name"][0] != "orders" || most.Label["kind"][0] != "lock" || most.Value[0] != 3 || time.Duration(most.Value[1]).Round(100*time.Millisecond) != 6*time.Second {
			t.Errorf("%v, %v", most.Label, most.Value)
		}
		first, second := most.Location[0].Line[0].Function.Name, most.Location[1].Line[0].Function.Name
		if !strings.HasSuffix(first, "lock.(*Mutex).Acquire") || !strings.HasSuffix(second, "importOrders") {
			t.Errorf("the stack begins with %s, %s", first, second)
		}
		if made.Sample[1].Label["name"][0] != "downloads" {
			t.Errorf("%v", made.Sample[1].Label)
		}
		file = filepath.Join(t.TempDir(), "waits.pb.gz")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("go", "tool", "pprof", "-top", "-cum", file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "importOrders") || !strings.Contains(string(out), "delay") {
			t.Errorf("%v\n%s", err, out)
		}
		for query, want := range map[string]int{"?seconds=x": http.StatusBadRequest, "?seconds=-1": http.StatusBadRequest, "?seconds=0.5": http.StatusOK, "?debug=1": http.StatusOK} {
			if w := get(t, p, query); w.Code != want {
				t.Errorf("%s: %d, %s", query, w.Code, w.Body)
			}
		}
		if made, err := profile.ParseData(get(t, p, "?seconds=1").Body.Bytes()); err != nil || len(made.Sample) != 0 {
			t.Errorf("a second without waits: %v, %v", made, err)
		}
	})
}

func TestDoRunsUnderALabelIfWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		for wanted, opts := range map[bool][]session.Option{true: {session.WithProfileLabels()}, false: nil} {
			s := etcd.Session(t, opts...)
			err := lock.New(s, "orders").Do(t.Context(), func(ctx context.Context, _ *lock.Lock) error {
				if name, ok := runtimepprof.Label(ctx, "lock"); ok != wanted || wanted && name != "orders" {
					t.Errorf("label %q, %v", name, ok)
				}
				var text bytes.Buffer
				if err := runtimepprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
					return err
				}
				if has := strings.Contains(text.String(), `"lock":"orders"`); has != wanted {
					t.Errorf("the profile of goroutines has the label: %v", has)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}
