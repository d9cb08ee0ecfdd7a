package cli

import (
	"encoding/json"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	registryroom "github.com/fenceline/fenceline/cmd/fenceline/internal/registry"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/registry"
)

func serviceName(t *testing.T) string { return strings.ReplaceAll(etcdtest.Name(t), "/", "-") }

// offered waits until a service has one instance of that status, or none with "".
func offered(t *testing.T, m *etcdtest.Member, service string, status registry.Status) (in registry.Instance) {
	t.Helper()
	client := m.Client(t)
	etcdtest.Eventually(t, 20*time.Second, service+" to be "+string(status), func() bool {
		ins, err := registry.Lookup(t.Context(), client, service)
		if err != nil {
			t.Fatal(err)
		}
		if status == "" || len(ins) == 0 {
			return status == "" && len(ins) == 0
		}
		in = ins[0]
		return in.Status == status
	})
	return in
}

func TestWrongRegisterAndServicesCommandLinesAre64BeforeAnyRequest(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"register"}, "SERVICE and ADDR are missing"},
		{[]string{"register", "--", "true"}, "SERVICE and ADDR are missing"},
		{[]string{"register", "web"}, "ADDR is missing"},
		{[]string{"register", "web", "10.0.0.1"}, `Addr "10.0.0.1": want host:port`},
		{[]string{"register", "we/b", "10.0.0.1:80"}, `service "we/b": it contains a slash`},
		{[]string{"register", "web", "10.0.0.1:80", "--id", "a/b"}, `instance "a/b": it contains a slash`},
		{[]string{"register", "web", "10.0.0.1:80", "true"}, "there must be --"},
		{[]string{"register", "web", "10.0.0.1:80", "--"}, "COMMAND is missing"},
		{[]string{"register", "web", "10.0.0.1:80", "--weight", "0"}, "--weight 0: it must be at least 1"},
		{[]string{"register", "web", "10.0.0.1:80", "--weight", "2000000"}, "Weight 2000000"},
		{[]string{"register", "web", "10.0.0.1:80", "--meta", "x"}, `--meta "x": it is not key=value`},
		{[]string{"register", "web", "10.0.0.1:80", "--drain", "1"}, "--drain: it is for a COMMAND"},
		{[]string{"register", "web", "10.0.0.1:80", "--ttl", "1"}, "1s: it is under 2s"},
		{[]string{"services", "a", "b"}, `"b": one SERVICE at most`},
		{[]string{"services", "a/b"}, "it contains a slash"},
		{[]string{"services", "-o", "xml"}, "none of table, json, prometheus-sd"},
		{[]string{"services", "--watch", "-o", "prometheus-sd"}, "--watch"},
		{[]string{"services", "--prefix", ""}, "--prefix: it is empty"},
	} {
		code, stdout, stderr := fenceline(append([]string{"--endpoints", "127.0.0.1:1"}, test.args...)...)
		if code != 64 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %q", test.args, code, stdout, stderr, test.want)
		}
	}
}

func TestRegisteredAsLongAsTheCommandRuns(t *testing.T) {
	m, name := etcdtest.Shared(t), serviceName(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "register", name, "10.0.0.1:80", "--zone", "z", "--meta", "a=b=c", "--weight", "3", "--service-version", "1.2",
		"--", "sh", "-c", `echo $FENCELINE_SERVICE $FENCELINE_INSTANCE_ID $FENCELINE_ADDR $FENCELINE_ENDPOINTS > $D/env; cat; exit 7`)
	got := offered(t, m, name, registry.Up)
	want := registry.Instance{ID: "10.0.0.1:80", Addr: "10.0.0.1:80", Status: registry.Up, Weight: 3, Zone: "z", Version: "1.2", Meta: map[string]string{"a": "b=c"}}
	if !got.Equal(want) {
		t.Errorf("%+v", got)
	}
	if env := w.until("env"); env != name+" 10.0.0.1:80 10.0.0.1:80 "+m.Endpoint() {
		t.Errorf("environment: %s", env)
	}
	end()
	w.exits(7)
	offered(t, m, name, "")
}

func TestLostLeaseDoesNotEndTheCommandAndIsMadeGood(t *testing.T) {
	m, name := etcdtest.Start(t), serviceName(t)
	client := m.Client(t)
	in, end := pipe(t)
	w := startedWith(t, m.Endpoint(), in, "register", name, "10.0.0.1:80", "--ttl", "2", "--", "cat")
	offered(t, m, name, registry.Up)
	lost := etcdtest.Leases(t, client)[0]
	if _, err := client.Revoke(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	offered(t, m, name, registry.Up)
	end()
	w.exits(0)
	w.says("registering again")
}

func TestDrainingComesBeforeTheSignal(t *testing.T) {
	m, name := etcdtest.Shared(t), serviceName(t)
	w := started(t, m.Endpoint(), "register", name, "10.0.0.1:80", "--drain", "1", "--", "sh", "-c", `trap 'echo > $D/asked; exit 0' TERM; echo > $D/ready; while :; do sleep 0.05; done`)
	offered(t, m, name, registry.Up)
	w.until("ready")
	w.signal(syscall.SIGTERM)
	offered(t, m, name, registry.Draining)
	if w.read("asked") != "" {
		t.Error("the signal came before the draining was over")
	}
	w.until("asked")
	w.exits(0)
	offered(t, m, name, "")
}

func TestStartingUntilTheAddressAcceptsConnections(t *testing.T) {
	m, name := etcdtest.Shared(t), serviceName(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	w := started(t, m.Endpoint(), "register", name, addr, "--wait-open")
	offered(t, m, name, registry.Starting)
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	offered(t, m, name, registry.Up)
	w.signal(syscall.SIGINT)
	w.exits(0)
	offered(t, m, name, "")
}

func TestIDOfALiveSessionIs1(t *testing.T) {
	m, name := etcdtest.Shared(t), serviceName(t)
	in, end := pipe(t)
	first := startedWith(t, m.Endpoint(), in, "register", name, "10.0.0.1:80", "--ttl", "2", "--", "cat")
	offered(t, m, name, registry.Up)
	second := started(t, m.Endpoint(), "register", name, "10.0.0.1:80")
	second.exits(1)
	second.says(`already registered: "10.0.0.1:80", by the session of lease`)
	second.says("(cat, host ")
	end()
	first.exits(0)
}

func TestServicesAreShownInEachForm(t *testing.T) {
	m, name := etcdtest.Start(t), serviceName(t)
	client := m.Client(t)
	for id, value := range map[string]string{"a": `{"Addr":"a:1","Zone":"z","Metadata":{"k":"v\u001b"}}`, "b": `{"Addr":"b:1","Status":"draining","Weight":5}`, "bad": "?"} {
		if _, err := client.Put(t.Context(), "services/"+name+"/"+id, value); err != nil {
			t.Fatal(err)
		}
	}
	show := func(args ...string) string {
		code, stdout, stderr := fenceline(append([]string{"--endpoints", m.Endpoint(), "services"}, args...)...)
		if bad := len(args) == 0 || args[0] != "nobody"; code != 0 || strings.Contains(stderr, `1 entry is of no instance, and left out: "services/`) != bad {
			t.Errorf("%q: %d, %s", args, code, stderr)
		}
		return stdout
	}
	table := strings.Fields(show())
	want := strings.Fields(`SERVICE ID ADDR STATUS WEIGHT ZONE META ` + name + ` a a:1 up 1 z "k=v\x1b" ` + name + ` b b:1 draining 5 - -`)
	if strings.Join(table, " ") != strings.Join(want, " ") {
		t.Errorf("%q", table)
	}
	var doc struct {
		Services map[string][]registryroom.ShownInstance `json:"services"`
	}
	if err := json.Unmarshal([]byte(show(name, "-o", "json")), &doc); err != nil || len(doc.Services[name]) != 2 || doc.Services[name][1].Weight != 5 {
		t.Errorf("%+v, %v", doc, err)
	}
	if err := json.Unmarshal([]byte(show("nobody", "-o", "json")), &doc); err != nil || doc.Services["nobody"] == nil {
		t.Errorf("%+v, %v", doc, err)
	}
	var groups []registry.TargetGroup
	if err := json.Unmarshal([]byte(show("-o", "prometheus-sd")), &groups); err != nil || len(groups) != 2 || groups[0].Targets[0] != "a:1" {
		t.Errorf("%+v, %v", groups, err)
	}
	if got := show("nobody", "-o", "prometheus-sd"); got != "[]\n" {
		t.Errorf("%q", got)
	}
}

func TestServicesWatchShowsEachChange(t *testing.T) {
	m, name := etcdtest.Shared(t), serviceName(t)
	client := m.Client(t)
	w := started(t, m.Endpoint(), "services", name, "--watch")
	for i, value := range []string{`{"Addr":"a:1"}`, `{"Addr":"a:1","Status":"draining"}`, ""} {
		var err error
		if value == "" {
			_, err = client.Delete(t.Context(), "services/"+name+"/x")
		} else {
			_, err = client.Put(t.Context(), "services/"+name+"/x", value)
		}
		if err != nil {
			t.Fatal(err)
		}
		etcdtest.Eventually(t, 10*time.Second, "a line", func() bool { return strings.Count(w.stdout(), "\n") == i+1 })
	}
	var signs []string
	for line := range strings.Lines(w.stdout()) {
		fields := strings.Fields(line)
		signs = append(signs, fields[1]+fields[4])
	}
	if strings.Join(signs, " ") != "+up ~draining -draining" {
		t.Errorf("%q", signs)
	}
	w.signal(syscall.SIGINT)
	w.exits(0)
}
