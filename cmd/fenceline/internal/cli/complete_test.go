package cli

import (
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestNamesAndValuesAreCompleted(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	t.Setenv("FENCELINE_ENDPOINTS", m.Endpoint())
	client := m.Client(t)
	for _, key := range []string{"gate/" + name + "/closed", "latch/" + name + "/count", "semaphore/" + name + "/limit", "cron/" + name + "/record", "cron/%at/1"} {
		if _, err := client.Put(t.Context(), "fenceline/"+key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for words, want := range map[string]string{
		"gate wait ":         name,
		"gate close ":        name,
		"latch ":             name,
		"sem status ":        name,
		"sem resize ":        name,
		"cron rm ":           name,
		"lock --on-lost ":    "ignore",
		"cron --missed ":     "once",
		"bench --rivals ":    "auto",
		"ls -o ":             "json",
		"services --output ": "prometheus-sd",
	} {
		args := append([]string{"__complete"}, strings.Split(words, " ")...)
		code, stdout, _ := fenceline(args...)
		if code != 0 || !strings.Contains("\n"+stdout, "\n"+want+"\n") || strings.Contains(stdout, "%at") {
			t.Errorf("%s: code %d, %q, want %s", words, code, stdout, want)
		}
	}
}
