package keyspace_test

import (
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

func FuzzNoNameIsPrefixOfAnother(f *testing.F) {
	for _, pair := range [][2]string{{"a", "a/b"}, {"a%2Fb", "a/b"}, {"a", "a%"}, {"%", "%25"}, {"a-1", "a"}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if keyspace.CheckName("lock", a) != nil || keyspace.CheckName("lock", b) != nil || a == b {
			return
		}
		pa, pb := keyspace.Line("n/", "lock", a), keyspace.Line("n/", "lock", b)
		if strings.HasPrefix(pa, pb) || strings.HasPrefix(pb, pa) {
			t.Fatalf("names %q and %q meet: %q, %q", a, b, pa, pb)
		}
		if got := keyspace.Unescape(keyspace.Escape(a)); got != a {
			t.Fatalf("Unescape(Escape(%q)) = %q", a, got)
		}
	})
}

func TestBadNamesAreNamedWithTheirRule(t *testing.T) {
	for name, rule := range map[string]string{
		"":                       "empty",
		strings.Repeat("x", 600): "600 bytes",
		"a\x00b":                 "control",
		"a\nb":                   "control",
		"\xff\xfe":               "UTF-8",
	} {
		err := keyspace.CheckName("lock", name)
		if !errors.Is(err, keyspace.ErrInvalidName) || !strings.Contains(err.Error(), rule) {
			t.Errorf("CheckName(%.20q) = %v, want ErrInvalidName that says %q", name, err, rule)
		}
	}
	for _, name := range []string{"a", "a/b", "ä", "/", "..", strings.Repeat("x", 512)} {
		if err := keyspace.CheckName("lock", name); err != nil {
			t.Errorf("CheckName(%.20q) = %v, want nil", name, err)
		}
	}
}

func TestEntryKeysAreReadBack(t *testing.T) {
	for _, slot := range []int{0, 1, 12} {
		key := keyspace.Entry("p/", 0x7f3a, slot)
		lease, got, ok := keyspace.ParseEntry(strings.TrimPrefix(key, "p/"))
		if !ok || lease != clientv3.LeaseID(0x7f3a) || got != slot {
			t.Errorf("ParseEntry of %q = %x, %d, %v", key, lease, got, ok)
		}
	}
	for _, foreign := range []string{"", "xyz", "7f-", "7f-x", "7f-0", "-7f", "7f/1", "+7f", "07f", "7F", "7f-+1", "7f-01", "0", "8000000000000000"} {
		if _, _, ok := keyspace.ParseEntry(foreign); ok {
			t.Errorf("ParseEntry(%q) accepted a foreign key", foreign)
		}
	}
}
