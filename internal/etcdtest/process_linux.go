package etcdtest

import "syscall"

// killWithParent covers what the end of stdin does not: a stopped server would never notice that.
func killWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
