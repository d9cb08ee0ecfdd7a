// Package adapt has locks in the shapes that other libraries ask for: gocron, robfig/cron, certmagic and goose. It
// imports none of them. The types fit their interfaces as they are, or take the one named type that is in the way as
// a type parameter:
//
//	gocron.NewScheduler(gocron.WithDistributedLocker(adapt.Gocron[gocron.Lock](s)))
//	cron.NewChain(adapt.Cron[cron.Job](s, "nightly report", report)).Then(job)
//	goose.NewProvider(dialect, db, files, goose.WithLocker(adapt.Goose(s, "migrate orders")))
//
// # What it promises
//
// A lock taken here is a lock of package lock, in the same line: what they call a key or a name is the name given to
// lock.New, as it is. So `fenceline ls` shows it, and `fenceline lock NAME` holds a job back. Everything that package
// lock promises of a hold holds here. Invalid names and options are errors of the call that would take the lock,
// before any request.
//
// An unlock releases, also when its ctx has ended: the request is the Session's own. Its answer is awaited for
// ReleaseTimeout, whatever ctx says.
//
// # What it does not
//
// These interfaces have no way to say that a lock was lost while the work goes on: package lock ends a Context, and
// here nobody looks at it. At the end the unlock returns an error that wraps session.ErrLost, which gocron drops and
// certmagic logs. session.Trace.Lost tells at once. Where you call the work yourself, lock.Mutex.Do around it is
// better than any of these, for it ends the work's ctx.
//
// Two applications that use one namespace and one name share a lock: see session.WithNamespace. lock.WithPrefix puts
// every name given to Gocron or Certmagic at one place, so that all of them are one lock: it is not for these.
package adapt
