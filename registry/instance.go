package registry

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Status says what an instance may be used for. [Directory.Pick] takes those that are Up.
type Status string

const (
	Up       Status = "up"
	Draining Status = "draining" // finishes what it has, and takes nothing new
	Starting Status = "starting"
)

// Instance is one that offers a service.
type Instance struct {
	ID      string // unique within the service; default: Addr
	Addr    string // host:port
	Status  Status // default: Up
	Weight  int    // its share of the picks, against the others'; default: 1, at most MaxWeight
	Zone    string
	Version string
	Meta    map[string]string // at most MaxMeta bytes, keys and values together
}

// Equal says whether nothing differs.
func (in Instance) Equal(o Instance) bool {
	return in.ID == o.ID && in.Addr == o.Addr && in.Status == o.Status && in.Weight == o.Weight && in.Zone == o.Zone &&
		in.Version == o.Version && maps.Equal(in.Meta, o.Meta)
}

// MaxMeta and MaxWeight are what an instance may have.
const (
	MaxMeta   = 64 << 10
	MaxWeight = 1_000_000
)

// ErrInvalid: an instance breaks a rule; the error names the value and the rule. An invalid service or ID is
// session.ErrInvalidName.
var ErrInvalid = errors.New("registry: invalid instance")

// Check says which rule a service or an instance breaks, as Register would; nil: none.
func Check(service string, in Instance) error {
	if err := checkName("service", service); err != nil {
		return err
	}
	_, err := in.checked()
	return err
}

// checked fills in the defaults, and says which rule is broken. The result shares nothing with in.
func (in Instance) checked() (Instance, error) {
	if err := checkAddr(in.Addr); err != nil {
		return in, err
	}
	in.ID, in.Status, in.Weight = cmp.Or(in.ID, in.Addr), cmp.Or(in.Status, Up), cmp.Or(in.Weight, 1)
	in.Meta = maps.Clone(in.Meta)
	if err := checkName("instance", in.ID); err != nil {
		return in, err
	}
	switch {
	case in.Status != Up && in.Status != Draining && in.Status != Starting:
		return in, fmt.Errorf("%w: Status %q: want %q, %q or %q", ErrInvalid, in.Status, Up, Draining, Starting)
	case in.Weight < 1 || in.Weight > MaxWeight:
		return in, fmt.Errorf("%w: Weight %d: want 1 to %d, or 0 for 1", ErrInvalid, in.Weight, MaxWeight)
	case !utf8.ValidString(in.Zone) || !utf8.ValidString(in.Version):
		return in, fmt.Errorf("%w: Zone %q, Version %q: want UTF-8", ErrInvalid, in.Zone, in.Version)
	}
	size := len(in.Zone) + len(in.Version)
	for k, v := range in.Meta {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return in, fmt.Errorf("%w: Meta %.40q: %.40q: want UTF-8", ErrInvalid, k, v)
		}
		size += len(k) + len(v)
	}
	if size > MaxMeta {
		return in, fmt.Errorf("%w: Meta has %d bytes: at most %d are allowed, with Zone and Version", ErrInvalid, size, MaxMeta)
	}
	return in, nil
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	number, wrong := strconv.ParseUint(port, 10, 16)
	if err != nil || wrong != nil || number == 0 || !isHost(host) {
		return fmt.Errorf("%w: Addr %.80q: want host:port, with an IP address or a name, and a number from 1 to 65535, as in 10.0.0.1:8080", ErrInvalid, addr)
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsUnspecified() {
		return fmt.Errorf("%w: Addr %.80q: that is where to listen, and nobody elsewhere can connect to it: want an address of this machine, which Reachable finds", ErrInvalid, addr)
	}
	return nil
}

// isHost says whether that is an IP address, or can be a name.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && r != '-' && r != '.' && r != '_'
	}
	return host != "" && host[0] != '-' && host[0] != '.' && utf8.ValidString(host) && !strings.ContainsFunc(host, odd)
}

// checkName is for services and IDs: each is one element of a path.
func checkName(kind, name string) error {
	if err := keyspace.CheckName(kind, name); err != nil {
		return err
	}
	if strings.Contains(name, "/") {
		return fmt.Errorf("%w: %s %q: it contains a slash", keyspace.ErrInvalidName, kind, name)
	}
	return nil
}

func byID(a, b Instance) int { return cmp.Compare(a.ID, b.ID) }

func sorted(ins []Instance) []Instance {
	slices.SortFunc(ins, byID)
	return ins
}
