package fencetest

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"
)

// version is that of the etcd whose behaviour this is.
const version = "3.7.0"

type authServer struct {
	pb.UnimplementedAuthServer
	*member
}

// manage is propose for what only an administrator may do.
func (s authServer) manage(ctx context.Context, r proto.Message, f func() error) (*pb.ResponseHeader, error) {
	h := &pb.ResponseHeader{}
	return h, s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		if err := s.etcd.store.Admin(user); err != nil {
			return nil, err
		}
		return h, f()
	})
}

func (s authServer) AuthEnable(ctx context.Context, r *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.EnableAuth() })
	return &pb.AuthEnableResponse{Header: h}, err
}

func (s authServer) AuthDisable(ctx context.Context, r *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	h, err := s.manage(ctx, r, func() error { s.etcd.store.DisableAuth(); return nil })
	return &pb.AuthDisableResponse{Header: h}, err
}

func (s authServer) AuthStatus(ctx context.Context, r *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	resp := &pb.AuthStatusResponse{}
	var err error
	resp.Header, err = s.manage(ctx, r, func() error {
		resp.Enabled, resp.AuthRevision = s.etcd.store.AuthEnabled(), s.etcd.store.AuthRevision()
		return nil
	})
	return resp, err
}

func (s authServer) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.store.LogIn(r.Name, r.Password); err != nil {
		return nil, err
	}
	e.lastToken++
	token := fmt.Sprintf("token.%d", e.lastToken)
	e.tokens[token] = r.Name
	resp := &pb.AuthenticateResponse{Header: &pb.ResponseHeader{}, Token: token}
	s.fill(resp.Header)
	return resp, nil
}

// ForgetTokens makes etcd forget who has logged in, as it does some minutes after.
func (e *Etcd) ForgetTokens() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), "etcd", "forgets who has logged in")
	clear(e.tokens)
}

func (s authServer) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.AddUser(r.Name, r.Password, r.Options.GetNoPassword()) })
	return &pb.AuthUserAddResponse{Header: h}, err
}

func (s authServer) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (resp *pb.AuthUserGetResponse, err error) {
	resp = &pb.AuthUserGetResponse{}
	resp.Header, err = s.manage(ctx, r, func() (err error) { resp.Roles, err = s.etcd.store.Roles(r.Name); return err })
	return resp, err
}

func (s authServer) UserList(ctx context.Context, r *pb.AuthUserListRequest) (resp *pb.AuthUserListResponse, err error) {
	resp = &pb.AuthUserListResponse{}
	resp.Header, err = s.manage(ctx, r, func() error { resp.Users = s.etcd.store.Users(); return nil })
	return resp, err
}

func (s authServer) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.DeleteUser(r.Name) })
	return &pb.AuthUserDeleteResponse{Header: h}, err
}

func (s authServer) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.SetPassword(r.Name, r.Password) })
	return &pb.AuthUserChangePasswordResponse{Header: h}, err
}

func (s authServer) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.GrantRole(r.User, r.Role) })
	return &pb.AuthUserGrantRoleResponse{Header: h}, err
}

func (s authServer) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.RevokeRole(r.Name, r.Role) })
	return &pb.AuthUserRevokeRoleResponse{Header: h}, err
}

func (s authServer) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.AddRole(r.Name) })
	return &pb.AuthRoleAddResponse{Header: h}, err
}

func (s authServer) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (resp *pb.AuthRoleGetResponse, err error) {
	resp = &pb.AuthRoleGetResponse{}
	resp.Header, err = s.manage(ctx, r, func() (err error) { resp.Perm, err = s.etcd.store.Permissions(r.Role); return err })
	return resp, err
}

func (s authServer) RoleList(ctx context.Context, r *pb.AuthRoleListRequest) (resp *pb.AuthRoleListResponse, err error) {
	resp = &pb.AuthRoleListResponse{}
	resp.Header, err = s.manage(ctx, r, func() error { resp.Roles = s.etcd.store.AllRoles(); return nil })
	return resp, err
}

func (s authServer) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.DeleteRole(r.Role) })
	return &pb.AuthRoleDeleteResponse{Header: h}, err
}

func (s authServer) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	h, err := s.manage(ctx, r, func() error { return s.etcd.store.GrantPermission(r.Name, r.Perm) })
	return &pb.AuthRoleGrantPermissionResponse{Header: h}, err
}

func (s authServer) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	h, err := s.manage(ctx, r, func() error {
		return s.etcd.store.RevokePermission(r.Role, &authpb.Permission{Key: r.Key, RangeEnd: r.RangeEnd})
	})
	return &pb.AuthRoleRevokePermissionResponse{Header: h}, err
}

type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*member
}

func (s maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	resp := &pb.StatusResponse{Header: &pb.ResponseHeader{}, Version: version, RaftTerm: e.term, RaftIndex: uint64(s.applied), RaftAppliedIndex: uint64(s.applied)}
	if e.leaderless {
		resp.Errors = append(resp.Errors, rpctypes.ErrNoLeader.Error())
	} else {
		resp.Leader = e.members[e.leader].id()
	}
	if e.store.NoSpace() {
		resp.Errors = append(resp.Errors, "memberID:"+fmt.Sprint(s.id())+" alarm:NOSPACE ")
	}
	s.fill(resp.Header)
	return resp, nil
}

func (s maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	resp := &pb.AlarmResponse{Header: &pb.ResponseHeader{}}
	err := s.propose(ctx, r, func(string) (*pb.ResponseHeader, error) {
		st := s.etcd.store
		was := st.NoSpace()
		switch {
		case r.Alarm != pb.AlarmType_NOSPACE && r.Alarm != pb.AlarmType_NONE:
		case r.Action == pb.AlarmRequest_ACTIVATE && r.Alarm == pb.AlarmType_NOSPACE:
			st.SetNoSpace(true)
		case r.Action == pb.AlarmRequest_DEACTIVATE:
			st.SetNoSpace(false)
		}
		if was || st.NoSpace() {
			resp.Alarms = append(resp.Alarms, &pb.AlarmMember{MemberID: s.id(), Alarm: pb.AlarmType_NOSPACE})
		}
		return resp.Header, nil
	})
	return resp, err
}

func (s maintenanceServer) MoveLeader(context.Context, *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	s.etcd.ChangeLeader(0)
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	resp := &pb.MoveLeaderResponse{Header: &pb.ResponseHeader{}}
	s.fill(resp.Header)
	return resp, nil
}

func (s maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	resp := &pb.DefragmentResponse{Header: &pb.ResponseHeader{}}
	s.fill(resp.Header)
	return resp, nil
}

type clusterServer struct {
	pb.UnimplementedClusterServer
	*member
}

func (s clusterServer) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	resp := &pb.MemberListResponse{Header: &pb.ResponseHeader{}}
	for _, m := range e.members {
		resp.Members = append(resp.Members, &pb.Member{ID: m.id(), Name: fmt.Sprintf("member-%d", m.index+1), ClientURLs: []string{m.endpoint()}})
	}
	s.fill(resp.Header)
	return resp, nil
}
