package store

import (
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

const root = "root"

// auth is users, roles, and who may do what.
type auth struct {
	enabled  bool
	revision uint64
	users    map[string]*user
	roles    map[string][]*authpb.Permission
}

type user struct {
	password string
	barred   bool // has no password, and cannot log in with one
	roles    map[string]bool
}

func newAuth() auth {
	return auth{revision: 1, users: map[string]*user{}, roles: map[string][]*authpb.Permission{}}
}

func (a auth) clone() auth {
	c := a
	c.users, c.roles = map[string]*user{}, maps.Clone(a.roles)
	for name, u := range a.users {
		c.users[name] = &user{u.password, u.barred, maps.Clone(u.roles)}
	}
	return c
}

// AuthEnabled says whether users must log in.
func (s *Store) AuthEnabled() bool { return s.auth.enabled }

// EnableAuth needs a root.
func (s *Store) EnableAuth() error {
	switch u := s.auth.users[root]; {
	case u == nil:
		return rpctypes.ErrGRPCRootUserNotExist
	case !u.roles[root]:
		return rpctypes.ErrGRPCRootRoleNotExist
	}
	s.auth.enabled = true
	return nil
}

func (s *Store) DisableAuth() { s.auth.enabled = false }

// LogIn checks a password.
func (s *Store) LogIn(name, password string) error {
	if !s.auth.enabled {
		return rpctypes.ErrGRPCAuthNotEnabled
	}
	if u := s.auth.users[name]; u == nil || u.barred || u.password != password {
		return rpctypes.ErrGRPCAuthFailed
	}
	return nil
}

// Admin says whether a user may change users and roles. It is called before each of the methods that do so.
func (s *Store) Admin(name string) error {
	switch u := s.auth.users[name]; {
	case !s.auth.enabled:
		return nil
	case name == "":
		return rpctypes.ErrGRPCUserEmpty
	case u == nil || !u.roles[root]:
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}

// Known says whether a user has logged in, if one must.
func (s *Store) Known(name string) error {
	if s.auth.enabled && name == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	return nil
}

// May says whether a user may read or write a range of keys.
func (s *Store) May(name string, write bool, from, end []byte) error {
	if !s.auth.enabled {
		return nil
	}
	if name == "" {
		return rpctypes.ErrGRPCUserEmpty
	}
	u := s.auth.users[name]
	switch {
	case u == nil:
		return rpctypes.ErrGRPCPermissionDenied
	case u.roles[root]:
		return nil
	}
	var spans []span
	for role := range u.roles {
		for _, p := range s.auth.roles[role] {
			if p.PermType == authpb.Permission_READWRITE || (p.PermType == authpb.Permission_WRITE) == write {
				spans = append(spans, span{p.Key, p.RangeEnd})
			}
		}
	}
	if !covered(span{from, end}, spans) {
		return rpctypes.ErrGRPCPermissionDenied
	}
	return nil
}

// bounds are the span as a half-open interval; open says that it has no end.
func (d span) bounds() (from, end string, open bool) {
	switch {
	case len(d.end) == 0:
		return string(d.from), string(d.from) + "\x00", false
	case len(d.end) == 1 && d.end[0] == 0:
		return string(d.from), "", true
	}
	return string(d.from), string(d.end), false
}

// covered says whether all of want lies in the spans taken together.
func covered(want span, spans []span) bool {
	from, end, open := want.bounds()
	for grown := true; grown; {
		grown = false
		for _, d := range spans {
			f, e, o := d.bounds()
			if f > from || !o && e <= from {
				continue
			}
			if o || !open && e >= end {
				return true
			}
			from, grown = e, true
		}
	}
	return false
}

// MayTxn is May for all that a transaction compares and might do.
func (s *Store) MayTxn(name string, r *pb.TxnRequest) error {
	for _, c := range r.Compare {
		if err := s.May(name, false, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			var err error
			switch o := op.Request.(type) {
			case *pb.RequestOp_RequestRange:
				err = s.May(name, false, o.RequestRange.Key, o.RequestRange.RangeEnd)
			case *pb.RequestOp_RequestPut:
				err = s.MayPut(name, o.RequestPut)
			case *pb.RequestOp_RequestDeleteRange:
				err = s.MayDelete(name, o.RequestDeleteRange)
			case *pb.RequestOp_RequestTxn:
				err = s.MayTxn(name, o.RequestTxn)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) MayPut(name string, r *pb.PutRequest) error {
	if err := s.May(name, true, r.Key, nil); err != nil {
		return err
	}
	if err := s.MayLease(name, true, r.Lease); err != nil {
		return err
	}
	if r.PrevKv {
		return s.May(name, false, r.Key, nil)
	}
	return nil
}

func (s *Store) MayDelete(name string, r *pb.DeleteRangeRequest) error {
	if err := s.May(name, true, r.Key, r.RangeEnd); err != nil {
		return err
	}
	if r.PrevKv {
		return s.May(name, false, r.Key, r.RangeEnd)
	}
	return nil
}

// MayLease is May for all keys that hang on a lease.
func (s *Store) MayLease(name string, write bool, id int64) error {
	if l := s.leases[id]; l != nil {
		for _, k := range l.Keys() {
			if err := s.May(name, write, []byte(k), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) AddUser(name, password string, barred bool) error {
	switch {
	case name == "":
		return rpctypes.ErrGRPCUserEmpty
	case s.auth.users[name] != nil:
		return rpctypes.ErrGRPCUserAlreadyExist
	}
	s.auth.users[name] = &user{password, barred, map[string]bool{}}
	s.auth.revision++
	return nil
}

// withUser changes one.
func (s *Store) withUser(name string, f func(*user) error) error {
	u := s.auth.users[name]
	if u == nil {
		return rpctypes.ErrGRPCUserNotFound
	}
	if err := f(u); err != nil {
		return err
	}
	s.auth.revision++
	return nil
}

func (s *Store) DeleteUser(name string) error {
	if s.auth.enabled && name == root {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	return s.withUser(name, func(*user) error { delete(s.auth.users, name); return nil })
}

func (s *Store) SetPassword(name, password string) error {
	return s.withUser(name, func(u *user) error { u.password = password; return nil })
}

func (s *Store) GrantRole(name, role string) error {
	return s.withUser(name, func(u *user) error {
		if _, ok := s.auth.roles[role]; !ok && role != root {
			return rpctypes.ErrGRPCRoleNotFound
		}
		u.roles[role] = true
		return nil
	})
}

func (s *Store) RevokeRole(name, role string) error {
	if s.auth.enabled && name == root && role == root {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	return s.withUser(name, func(u *user) error {
		if !u.roles[role] {
			return rpctypes.ErrGRPCRoleNotGranted
		}
		delete(u.roles, role)
		return nil
	})
}

// Roles of a user, and Users and AllRoles by name.
func (s *Store) Roles(name string) ([]string, error) {
	u := s.auth.users[name]
	if u == nil {
		return nil, rpctypes.ErrGRPCUserNotFound
	}
	return slices.Sorted(maps.Keys(u.roles)), nil
}

func (s *Store) Users() []string      { return slices.Sorted(maps.Keys(s.auth.users)) }
func (s *Store) AllRoles() []string   { return slices.Sorted(maps.Keys(s.auth.roles)) }
func (s *Store) AuthRevision() uint64 { return s.auth.revision }

func (s *Store) AddRole(role string) error {
	if role == "" {
		return rpctypes.ErrGRPCRoleEmpty
	}
	if _, ok := s.auth.roles[role]; ok {
		return rpctypes.ErrGRPCRoleAlreadyExist
	}
	s.auth.roles[role] = nil
	s.auth.revision++
	return nil
}

func (s *Store) DeleteRole(role string) error {
	if s.auth.enabled && role == root {
		return rpctypes.ErrGRPCInvalidAuthMgmt
	}
	if _, ok := s.auth.roles[role]; !ok {
		return rpctypes.ErrGRPCRoleNotFound
	}
	delete(s.auth.roles, role)
	for _, u := range s.auth.users {
		delete(u.roles, role)
	}
	s.auth.revision++
	return nil
}

// Permissions of a role.
func (s *Store) Permissions(role string) ([]*authpb.Permission, error) {
	perms, ok := s.auth.roles[role]
	if !ok {
		return nil, rpctypes.ErrGRPCRoleNotFound
	}
	return perms, nil
}

func (s *Store) GrantPermission(role string, p *authpb.Permission) error {
	perms, ok := s.auth.roles[role]
	switch {
	case p == nil:
		return rpctypes.ErrGRPCPermissionNotGiven
	case !ok:
		return rpctypes.ErrGRPCRoleNotFound
	}
	perms = slices.DeleteFunc(slices.Clone(perms), func(q *authpb.Permission) bool { return same(p, q) })
	s.auth.roles[role] = append(perms, p)
	s.auth.revision++
	return nil
}

func (s *Store) RevokePermission(role string, p *authpb.Permission) error {
	perms, ok := s.auth.roles[role]
	if !ok {
		return rpctypes.ErrGRPCRoleNotFound
	}
	left := slices.DeleteFunc(slices.Clone(perms), func(q *authpb.Permission) bool { return same(p, q) })
	if len(left) == len(perms) {
		return rpctypes.ErrGRPCPermissionNotGranted
	}
	s.auth.roles[role] = left
	s.auth.revision++
	return nil
}

func same(p, q *authpb.Permission) bool {
	return string(p.Key) == string(q.Key) && string(p.RangeEnd) == string(q.RangeEnd)
}
