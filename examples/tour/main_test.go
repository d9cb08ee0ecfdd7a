package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tour says what each of its steps has found, in order, and leaves nothing behind.
func TestTourShowsEachStep(t *testing.T) {
	m := etcdtest.Start(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{m.Endpoint()}, 10*time.Millisecond)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	for _, want := range []string{
		`get: tour/greeting = hello, created at revision \d+`, `delete: 1 key`, `list: tour/list/a tour/list/b tour/list/c`,
		`watch: PUT tour/watched = news`, `lease: 0 keys are left after its end`, `transaction: first has it`,
		`transaction: second sees that first has it`, `lock: held with fencing token \d+`, `discovered: tour is offered at 127.0.0.1:8080`,
		`services: tour  127.0.0.1:8080  up`, `services: tour  127.0.0.1:8080  up`,
	} {
		if !lines.Scan() || !regexp.MustCompile("^"+want+"$").MatchString(lines.Text()) {
			t.Fatalf("%q, want %q", lines.Text(), want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error(err)
	}
	if keys := etcdtest.Keys(t, m.Client(t), ""); len(keys) != 0 {
		t.Errorf("left: %s", strings.Join(keys, " "))
	}
}
