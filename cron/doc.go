// Package cron runs each tick of a schedule once in the whole cluster.
//
// A tick is one scheduled time of one job. Every process that has the job in a Scheduler waits for it; one of them
// claims it and runs it.
//
// # What it promises
//
// A tick is started by one process, whatever the clocks show. It is claimed by one etcd transaction on the job's
// record, which says up to which time all ticks have been dealt with. The record has no lease and outlives the
// processes, so ticks that came while nobody was there are known (see OnMissed). A tick is started again only if its
// run failed or lost its claim, and then only with Retry: as another attempt, with a larger Token.
//
// The claim hangs on the Session's lease, in a key of its own. When it is lost (the process died, or was cut off from
// etcd, or somebody deleted the key) the run's ctx ends, all others learn of it at once, and whatever that run may
// still answer is not recorded.
//
// # What it does not
//
// That two attempts at one tick never act at the same time: a runner that lost its claim may not look at its ctx. A
// resource that must not see that needs the Token and package fence. Nor that a tick is run at least once: Skip, an
// atMostLate that has passed, and used-up retries are ends too, each by choice. A process that dies between its claim
// and the first line of its function leaves a run that was lost, as History tells, and that only Retry makes good.
//
// # Clocks
//
// A tick is run when it is time by the clock of some process. One that is fast runs it early, by as much; one that is
// slow finds it done. If the fast one goes away, the others have nothing to do until their clocks have come to where
// it was. A clock that is wrong by years can so end a job, until its record is deleted:
//
//	etcdctl del fenceline/cron/<job>/record
//
// A tick starts some milliseconds after its time, up to 30: the more of the last ones a process has run, the longer it
// leaves the next to others. So ticks spread over processes whose clocks agree to some milliseconds.
//
// # Schedules
//
// Five fields, as in crontab(5), or a descriptor. Ticks of @every are the multiples of its duration since
// 1970-01-01T00:00:00Z, so that all processes mean the same ones, whenever they were started: @every 24h is midnight
// UTC.
//
// When clocks are changed in the job's time zone, a schedule that has ticks in every hour of the day goes on as time
// does. Any other keeps to the clock on the wall: a tick in the hour that comes twice is run in the first, and ticks
// in the hour that is left out are one tick, at the moment of the change. A daily job so runs once a day.
//
// # Missed ticks
//
// A tick is in time if a process was there when it came, and could start it within five seconds. Otherwise it is
// missed. In particular: no Run with the job was under way; etcd was away for longer; an earlier run, or its retries,
// were not done (but see Overlap).
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
