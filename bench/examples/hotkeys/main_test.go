package main

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWorkloadOfAUserIsMeasuredAndChecked(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{etcdtest.Shared(t).Endpoint()}, 300*time.Millisecond, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"8, 16 customers", "jobs/s", "fenceline", "etcd"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if err := (Load{}).Validate(); !errors.Is(err, bench.ErrInvalid) {
		t.Errorf("no customers: %v", err)
	}
}

// docs/benchmarking.md says so.
func TestWorkloadIsThirtyLines(t *testing.T) {
	text, err := os.ReadFile("workload.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), ")\n") // the imports
	lines := regexp.MustCompile(`(?m)^\s*[^\s/].*$`).FindAllString(body, -1)
	if n := len(lines); n > 30 || n < 10 {
		t.Errorf("%d lines of code", n)
	}
}
