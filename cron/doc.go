// Package cron runs each tick of a schedule once in the whole cluster.
//
// A tick is one scheduled time of one job. Every process that has the job in a Scheduler waits for it; one of them
// claims it and runs it.
//
// # What it promises
//
// A tick is started by one process, whatever the clocks show. It is claimed by one etcd transaction on the job's
// record, which says up to which time all ticks have been dealt with. The record has no lease and outlives the
// processes, so ticks that came while nobody was there are known (see WithMissed). A tick is started again only if its
// run failed or lost its claim, and then only with WithRetries: as another attempt, with a larger Token.
//
// The claim hangs on the Session's lease, in a key of its own. When it is lost (the process died, or was cut off from
// etcd, or somebody deleted the key) the run's ctx ends, all others learn of it at once, and whatever that run may
// still answer is not recorded.
//
// # What it does not
//
// That two attempts at one tick never act at the same time: a runner that lost its claim may not look at its ctx. A
// resource that must not see that needs the Token and package fence. Nor does every tick run: Skip, atMostLate and the limit
// of WithRetries let a tick go, as configured. A process that dies between its claim
// and the first line of its function leaves a run that was lost, as History tells, and that only WithRetries makes good.
//
// # Clocks
//
// A tick is run when it is time by the clock of some process. One that is fast runs it early, by as much; one that is
// slow finds it done. A process that finds ticks before its own that nobody has run, though nothing was in the way, lets
// others go first; if their claims then show clocks that are more than five seconds behind its own, it leaves such ticks
// to them and says so: Trace.Stalled, and the log.
//
// Where no claim of others shows it, a fast process runs its tick early. If it goes away, the others have nothing to do
// until their clocks have come to where it was: they say so in the same way. They cannot tell whose clock is wrong, and
// to run ticks again that were run is worse. A clock that is wrong by years can so end a job, until its record is deleted:
//
//	etcdctl del fenceline/cron/<job>/record
//
// A tick starts some milliseconds after its time, up to 30 where few jobs have one at once: the more of the last ones a
// process has run, the longer it leaves the next to others. So ticks spread over processes whose clocks agree to some
// milliseconds. Where many jobs have a tick at one moment they start as fast as etcd takes their claims, at two
// transactions a tick.
//
// # Schedules
//
// Five fields, as in crontab(5), or a descriptor. A Sunday is 0 or 7. Where both day fields restrict, either will do; one
// that begins with a star does not restrict: "0 0 */2 * 1" means the odd days that are Mondays. Two texts that mean the
// same ticks, such as "@daily" and "0 0 * * *", are the same schedule. Ticks of @every are the multiples of its duration since
// 1970-01-01T00:00:00Z, so that all processes mean the same ones, whenever they were started: @every 24h is midnight
// UTC.
//
// When clocks are changed in the job's time zone, a schedule that has ticks in every hour of the day goes on as time
// does. Any other keeps to the clock on the wall: a tick in the hour that comes twice is run in the first, and ticks
// in the hour that is left out are one tick, at the moment of the change. A daily job so runs once a day. Processes whose
// time zone data differ mean different moments, and a daily job runs once for each: give them the same data.
//
// # Missed ticks
//
// A tick is in time if a process was there when it came, and could start it within five seconds. Otherwise it is
// missed. In particular: no Run with the job was under way; etcd was away for longer; an earlier run, or its retries,
// were not done (but see WithOverlap). Whether a tick is in time, or late by no more than WithMissed allows, is asked again
// before each attempt to claim it, and before its function is called.
//
// That ticks were missed is told once, by the process that claims the next tick, or that finds out when the next is far:
// to Trace.Missed and the log of its Session, and in History.
//
// A job that has never run has missed nothing: its record is made with its first claim. Nor has one whose schedule or
// time zone has changed since the last: then nobody knows what should have been run. While processes have
// different schedules for one job, as during a roll-out, the ticks of each are run; `fenceline cron ls` shows the
// schedule of whoever wrote last.
//
// # In etcd
//
// Under fenceline/cron/<job>/ stand the record, a claim per running tick, and the last twenty runs, in keys that are
// used again and again. They stay when a job is no longer used, until somebody deletes them.
package cron
