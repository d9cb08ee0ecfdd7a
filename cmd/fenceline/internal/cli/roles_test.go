package cli

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// role is a row of the operator's page.
type role struct{ command, write, read string }

func operatorsRoles(t *testing.T) (roles []role) {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Permissions")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|([^|]*)\\|([^|]*)\\|$").FindAllStringSubmatch(section, -1) {
		roles = append(roles, role{row[1], row[2], row[3]})
	}
	return roles
}

func TestRolesOfTheOperatorsPageSuffice(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	root := m.Client(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const name = "a-name"
	roles := operatorsRoles(t)
	if len(roles) < 14 {
		t.Fatalf("only %d rows are read", len(roles))
	}
	for i, r := range roles {
		user := "user" + string(rune('a'+i))
		must(root.RoleAdd(t.Context(), user))
		for column, kind := range map[string]clientv3.PermissionType{r.write: clientv3.PermissionType(clientv3.PermReadWrite), r.read: clientv3.PermissionType(clientv3.PermRead)} {
			for _, prefix := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(column, -1) {
				key := strings.ReplaceAll(prefix[1], "NAME", name)
				must(root.RoleGrantPermission(t.Context(), user, key, clientv3.GetPrefixRangeEnd(key), kind))
			}
		}
		must(root.UserAdd(t.Context(), user, "secret"))
		must(root.UserGrantRole(t.Context(), user, user))
	}
	must(root.UserAdd(t.Context(), "root", "root"))
	must(root.UserGrantRole(t.Context(), "root", "root"))
	must(root.AuthEnable(t.Context()))
	for i, r := range roles {
		user := "user" + string(rune('a'+i)) + ":secret"
		words := strings.Fields(strings.ReplaceAll(r.command, "NAME", name))
		args := append([]string{words[0], "--user", user, "--endpoints", m.Endpoint()}, words[1:]...)
		switch words[0] {
		case "lock", "elect", "sem", "barrier", "register":
			args = append(args, "--", "sleep", "1.5") // long enough for a note of since when, which the role may not write
		}
		switch {
		case words[0] == "cron" && words[1] == "--job":
			args = append([]string{"cron", "--user", user, "--job", strings.Join(words[2:], " ")}, "--", "sh", "-c", "echo >> $D/ticks")
			w := started(t, m.Endpoint(), args...)
			w.ticks(1)
			w.signal(syscall.SIGTERM)
			w.exits(143)
		case words[0] == "cron":
			args = append([]string{"cron", words[1], "--user", user, "--endpoints", m.Endpoint()}, words[2:]...)
			fallthrough
		default:
			code, _, stderr := 0, "", ""
			if words[0] == "exporter" {
				w := started(t, m.Endpoint(), append(args, "--listen", "127.0.0.1:0")...)
				etcdtest.Eventually(t, 10e9, "a look", func() bool { return strings.Contains(w.scraped(), "fenceline_exporter_up 1\n") })
				w.signal(syscall.SIGTERM)
				w.exits(0)
				continue
			}
			if words[0] == "dashboard" {
				w := started(t, m.Endpoint(), append(args, "--listen", "127.0.0.1:0")...)
				etcdtest.Eventually(t, 10e9, "a look", func() bool { return w.page("healthz") == "ok\n" })
				w.signal(syscall.SIGTERM)
				w.exits(0)
				continue
			}
			if words[0] == "observe" {
				w := started(t, m.Endpoint(), args...)
				etcdtest.Eventually(t, 10e9, "a word", func() bool { return w.stdout() != "" })
				w.signal(syscall.SIGTERM)
				continue
			}
			if code, _, stderr = fenceline(args...); code != 0 {
				t.Errorf("%s: code %d: %s", r.command, code, stderr)
			}
		}
	}
}
