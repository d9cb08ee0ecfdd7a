package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// take takes a message about a lease.
func (s *Server) take(ctx context.Context, p *process, m message, pid int) reply {
	r := reply{Lease: m.Lease}
	refuse := func(format string, args ...any) reply {
		r.Error = fmt.Sprintf(format, args...)
		return r
	}
	if pid != p.pid {
		return refuse("process %d tells, and process %d has said hello: connect again", pid, p.pid)
	}
	if m.Do == "group" || m.Do == "ungroup" {
		if err := s.takeGroup(p, m); err != nil {
			return refuse("%v", err)
		}
		return r
	}
	id, err := strconv.ParseInt(m.Lease, 16, 64)
	switch {
	case err != nil || id <= 0:
		return refuse("%q is no lease", m.Lease)
	}
	lease := clientv3.LeaseID(id)
	switch m.Do {
	case "forget":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.told[lease] == p {
			delete(s.told, lease)
			delete(p.leases, lease)
		}
		return r
	case "tell":
	default:
		return refuse("%q: want tell or forget", m.Do)
	}
	if m.TTL <= 0 || m.TTL > 25*3600 || m.Namespace == "" || m.Secret == "" {
		return refuse("ttl, namespace or secret is missing, or too large")
	}
	bounded, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	text, under, err := s.Cluster.Record(bounded, m.Namespace, lease)
	if err != nil {
		r.Retry = true
		return refuse("etcd cannot be asked whose it is: %v", err)
	}
	var record struct{ Witness string }
	if text == "" || under != lease || json.Unmarshal([]byte(text), &record) != nil || record.Witness == "" || record.Witness != Hash(m.Secret) {
		return refuse("no session under %q shows that secret", m.Namespace)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch before := s.told[lease]; {
	case !s.processes[p]:
		return refuse("process %d is dead", p.pid)
	case len(p.leases) >= mostLeases:
		return refuse("%d leases are told, which is the most", mostLeases)
	case before != nil && before != p && before.pid != p.pid:
		return refuse("process %d has told it already", before.pid)
	case before != nil && before != p: // over an earlier connection
		delete(before.leases, lease)
		s.part(before)
	}
	s.told[lease] = p
	p.leases[lease] = time.Duration(m.TTL * float64(time.Second))
	return r
}

// takeGroup takes a message about the process group of a child. It has to be one that the process may have ended itself: the witness ends it.
func (s *Server) takeGroup(p *process, m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Do == "ungroup" {
		if f := p.groups[m.Group]; f != nil {
			_ = f.Close()
			delete(p.groups, m.Group)
		}
		return nil
	}
	switch {
	case p.far:
		return errors.New("groups of another PID namespace are not known here")
	case m.Group <= 1 || len(p.groups) >= mostGroups:
		return fmt.Errorf("group %d is none, or one too many", m.Group)
	}
	fd, err := unix.PidfdOpen(m.Group, 0)
	if err != nil {
		return fmt.Errorf("group %d: %w", m.Group, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !isChildsGroup(m.Group, p.pid) || isDead(uintptr(fd)) {
		_ = f.Close()
		return fmt.Errorf("group %d is not that of a child of process %d, under the same user", m.Group, p.pid)
	}
	if before := p.groups[m.Group]; before != nil {
		_ = before.Close()
	}
	p.groups[m.Group] = f
	return nil
}
