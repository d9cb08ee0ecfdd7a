// Package child runs a command for as long as a hold lasts.
//
// # What it promises
//
// The command runs in a process group of its own, without a shell in between, with the streams it is given. When
// nobody renews the hold any more, the group gets SIGTERM a grace period before the hold's deadline, and is dead
// before the deadline, which is before etcd can give the hold to somebody else. When the hold is lost at once (its
// lease revoked, its entry deleted), the group gets SIGTERM at once and is dead after the grace period; when its
// deadline has passed already, because this process or its machine was stopped, it is killed at once.
//
// Run returns when nothing of the group runs any more: what the command leaves behind has the grace period to end by
// itself, and is ended then. A process that wants to outlive the command, and with it the hold, leaves the group
// (setsid).
//
// # What it does not
//
// While this process is stopped, nobody watches the deadline: only a fence at the resource helps there. When it is
// killed, the command is killed with it on Linux, but not what the command has started. A process that changed its
// user (sudo) cannot be signalled.
//
// # Terminals
//
// A group of its own cannot read the terminal unless it is the terminal's foreground group. It is put there when both
// its standard input and output are the terminal, and otherwise as soon as it asks: a pipeline's other end (a pager)
// keeps the terminal until then. Ctrl-Z stops the command and this process with it, so that the shell notices.
package child
