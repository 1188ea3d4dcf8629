"""Every statement that changes the life of a task, named, in one place.

The portable core: named parameters, RETURNING, integer epoch seconds, nothing that only SQLite understands, so that
the same lifecycle can run on PostgreSQL (DESIGN.md section 3; ``tests/store/test_statements.py`` holds the list of
words that may not appear). Each change of a task repeats in its WHERE everything that the decision was based on; zero
rows returned is an answer, not an error. Standard library only: the supervisor uses this module too.
"""

from __future__ import annotations

from hermes_kanban_plugin.store.attempts import newest_attempt

# A child may run when each of its parents is done or archived (contract section 3, recompute_ready and claim_task).
PARENTS_FINISHED = """NOT EXISTS (
    SELECT 1 FROM task_links JOIN tasks AS parent ON parent.id = task_links.parent_id
    WHERE task_links.child_id = tasks.id AND parent.status NOT IN ('done', 'archived'))"""

# On a paused board nothing is claimed; pausing takes back what was claimed and not accepted (maintenance/pausing.py).
NOT_PAUSED = "NOT EXISTS (SELECT 1 FROM kp_flags WHERE kp_flags.name = 'paused')"

# What only the current run may touch: the fence.
_CURRENT = "id = :task_id AND status = 'running' AND current_run_id = :run_id AND claim_lock = :lock"
_OPEN_RUN = "id = :run_id AND task_id = :task_id AND ended_at IS NULL"

INSERT_EVENT = """
INSERT INTO task_events (task_id, run_id, kind, payload, created_at)
VALUES (:task_id, :run_id, :kind, :payload, :now)"""

SELECT_CURRENT = f"SELECT * FROM tasks WHERE {_CURRENT}"
SELECT_TASK = "SELECT * FROM tasks WHERE id = :task_id"
SELECT_RUN = "SELECT * FROM task_runs WHERE id = :run_id"
SELECT_HOLDER = """
SELECT lane, host_id, boot_id, pid_namespace, worker_pid, worker_started FROM kp_runs
WHERE run_id = :run_id AND task_id = :task_id"""

# Tasks that a dispatcher may start now, best first (contract section 4: priority, then age). The processes of an
# earlier run must be proven gone. The last run says whether the task has a wait (a moment of its own, else the cooldown
# after a refusal), whether it fails like others do (then only the one that probes may start), and whether what it
# handed over too late waits for a person. Nothing at all is started too often within an hour, or on a paused board.
CANDIDATES = f"""
SELECT tasks.* FROM tasks
    LEFT JOIN task_runs AS newest
        ON newest.id = (SELECT max(latest.id) FROM task_runs AS latest WHERE latest.task_id = tasks.id)
    LEFT JOIN kp_runs AS facts ON facts.run_id = newest.id
WHERE tasks.status IN ('ready', 'review') AND tasks.claim_lock IS NULL AND tasks.current_run_id IS NULL
    AND (tasks.status <> 'ready' OR {PARENTS_FINISHED}) AND {NOT_PAUSED}
    AND NOT EXISTS (
        SELECT 1 FROM kp_runs
        WHERE kp_runs.task_id = tasks.id AND kp_runs.accepted_at IS NOT NULL AND kp_runs.ended_at IS NULL)
    AND NOT (newest.id IS NOT NULL AND newest.ended_at <= :now
        AND COALESCE(facts.retry_at, CASE WHEN newest.outcome = 'rate_limited' THEN newest.ended_at + :cooldown END, 0)
            > :now)
    AND NOT EXISTS (
        SELECT 1 FROM kp_outages
        WHERE kp_outages.signature = facts.signature AND kp_outages.closed_at IS NULL
            AND NOT (COALESCE(kp_outages.probe_task_id, '') = tasks.id AND kp_outages.probe_run_id IS NULL))
    AND NOT EXISTS (
        SELECT 1 FROM kp_completions
        WHERE kp_completions.task_id = tasks.id AND kp_completions.decided_at IS NULL
            AND kp_completions.run_id = {newest_attempt("tasks.id")})
    AND (newest.id IS NULL OR :max_starts > (
        SELECT count(*) FROM kp_runs
        WHERE kp_runs.task_id = tasks.id AND kp_runs.claimed_at > :now - 3600 AND kp_runs.claimed_at <= :now))
ORDER BY tasks.priority DESC, tasks.created_at, tasks.id"""

RUNNING_BY_ASSIGNEE = """
SELECT COALESCE(assignee, '') AS assignee, count(*) AS running FROM tasks WHERE status = 'running' GROUP BY assignee"""

ASSIGN_DEFAULT = """
UPDATE tasks SET assignee = :assignee WHERE id = :task_id AND status = :status AND COALESCE(assignee, '') = ''
RETURNING id"""

SET_WORKSPACE = """
UPDATE tasks SET workspace_path = :path, branch_name = COALESCE(:branch, branch_name)
WHERE id = :task_id AND status = 'running' AND current_run_id = :run_id AND claim_lock = :lock
RETURNING id"""

# --- claim: {ids} is a list of named parameters, one per task -----------------------------------------------------

OPEN_RUNS = f"""
INSERT INTO task_runs (task_id, profile, step_key, status, claim_lock, claim_expires, max_runtime_seconds, started_at)
SELECT id, assignee, current_step_key, 'running', :lock_prefix || '-' || id, :expires, max_runtime_seconds, :now
FROM tasks
WHERE id IN ({{ids}}) AND status = :source AND claim_lock IS NULL AND current_run_id IS NULL
    AND {NOT_PAUSED}
    AND (:source <> 'ready' OR {PARENTS_FINISHED})
RETURNING id, task_id, claim_lock"""

CLAIM_TASKS = f"""
UPDATE tasks SET
    status = 'running', claim_lock = opened.claim_lock, claim_expires = :expires, current_run_id = opened.id,
    worker_pid = NULL, last_heartbeat_at = NULL, started_at = COALESCE(tasks.started_at, :now)
FROM task_runs AS opened
WHERE opened.task_id = tasks.id AND opened.claim_lock = :lock_prefix || '-' || tasks.id AND opened.ended_at IS NULL
    AND tasks.id IN ({{ids}}) AND tasks.status = :source AND tasks.claim_lock IS NULL AND tasks.current_run_id IS NULL
    AND {NOT_PAUSED}
RETURNING id"""

RECORD_RUNS = """
INSERT INTO kp_runs (run_id, task_id, claim_lock, lane, source_status, claimed_at, launch_deadline)
VALUES (:run_id, :task_id, :lock, :lane, :source, :now, :expires)"""

# --- accept: the supervisor takes the claim over -------------------------------------------------------------------

ACCEPT_TASK = f"""
UPDATE tasks SET claim_expires = :expires, worker_pid = :worker_pid
WHERE {_CURRENT} AND worker_pid IS NULL
RETURNING id"""

ACCEPT_RUN = f"""
UPDATE task_runs SET claim_expires = :expires, worker_pid = :worker_pid
WHERE {_OPEN_RUN} AND claim_lock = :lock AND worker_pid IS NULL
RETURNING id"""

ACCEPT_IDENTITY = """
UPDATE kp_runs SET
    accepted_at = :now, host_id = :host_id, boot_id = :boot_id, pid_namespace = :pid_namespace,
    supervisor_pid = :supervisor_pid, supervisor_started = :supervisor_started,
    worker_pid = :worker_pid, worker_started = :worker_started
WHERE run_id = :run_id AND task_id = :task_id AND accepted_at IS NULL
RETURNING run_id"""

# --- lease: renewing never shortens it ---------------------------------------------------------------------------

RENEW_TASK = f"""
UPDATE tasks SET claim_expires = CASE WHEN claim_expires > :expires THEN claim_expires ELSE :expires END
WHERE {_CURRENT}
RETURNING claim_expires"""

BEAT_TASK = f"""
UPDATE tasks SET
    claim_expires = CASE WHEN claim_expires > :expires THEN claim_expires ELSE :expires END, last_heartbeat_at = :now
WHERE {_CURRENT}
RETURNING claim_expires"""

RENEW_RUN = f"""
UPDATE task_runs SET claim_expires = :expires, last_heartbeat_at = COALESCE(:beat, last_heartbeat_at)
WHERE {_OPEN_RUN} AND claim_lock = :lock"""

# --- the end of a run ----------------------------------------------------------------------------------------------

FINISH_TASK = f"""
UPDATE tasks SET
    status = :status, claim_lock = NULL, claim_expires = NULL, worker_pid = NULL, current_run_id = NULL,
    result = CASE WHEN :status = 'done' THEN :result ELSE result END,
    completed_at = CASE WHEN :status = 'done' THEN :now ELSE completed_at END,
    block_kind = :block_kind, block_recurrences = :block_recurrences,
    consecutive_failures = :failures, last_failure_error = :failure_error
WHERE {_CURRENT} AND consecutive_failures = :failures_seen AND block_recurrences = :recurrences_seen
RETURNING id"""

CLOSE_RUN = f"""
UPDATE task_runs SET
    status = :run_status, outcome = :outcome, ended_at = :now, summary = COALESCE(:summary, summary),
    metadata = COALESCE(:metadata, metadata), error = COALESCE(:error, error),
    claim_lock = NULL, claim_expires = NULL, worker_pid = NULL
WHERE {_OPEN_RUN}
RETURNING id"""

# The run was ended by its own worker, which may now say goodbye in peace.
NOTE_OWN_END = """
UPDATE kp_runs SET final_word_at = :now, cause = :cause WHERE run_id = :run_id AND task_id = :task_id"""
NOTE_FINAL_WORD = "UPDATE kp_runs SET final_word_at = :now WHERE run_id = :run_id AND task_id = :task_id"

# What a run's worker reports about itself, and why its supervisor stops it: beside the run that is current.
_KNOWN_RUN = "run_id = :run_id AND task_id = :task_id AND claim_lock = :lock AND ended_at IS NULL"
NOTE_PROGRESS = f"UPDATE kp_runs SET progress_at = :at, repeated_calls = :repeated WHERE {_KNOWN_RUN}"
NOTE_RETRY = f"UPDATE kp_runs SET retry_at = :retry_at WHERE {_KNOWN_RUN}"
NOTE_STOP = f"UPDATE kp_runs SET stop_cause = :cause WHERE {_KNOWN_RUN}"

# Also after the run ended: its worker is told the sum when it ends itself.
NOTE_USAGE = """
UPDATE kp_runs SET input_tokens = :input_tokens, output_tokens = :output_tokens
WHERE run_id = :run_id AND task_id = :task_id AND claim_lock = :lock"""

# What a task used since a person opened it last.
TOKENS_USED = """
SELECT COALESCE(sum(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)), 0) AS tokens, count(*) AS runs
FROM kp_runs
WHERE task_id = :task_id AND claimed_at >= COALESCE((
    SELECT max(created_at) FROM task_events WHERE task_id = :task_id AND kind = 'unblocked'), 0)"""

RECORD_EXIT = """
UPDATE kp_runs SET
    ended_at = :now, exit_code = :exit_code, exit_signal = :exit_signal, user_seconds = :user_seconds,
    system_seconds = :system_seconds, peak_memory_bytes = :peak_memory_bytes, last_output = :last_output,
    first_output = :first_output
WHERE run_id = :run_id AND task_id = :task_id"""

# --- moves of an operator: the WHERE repeats the row that the operator was shown -----------------------------------

MOVE_TASK = """
UPDATE tasks SET
    status = :status, claim_lock = NULL, claim_expires = NULL, worker_pid = NULL, current_run_id = NULL,
    result = CASE WHEN :status = 'done' THEN :result ELSE result END,
    completed_at = CASE WHEN :status = 'done' THEN :now ELSE completed_at END,
    block_kind = :block_kind, block_recurrences = :block_recurrences,
    consecutive_failures = :failures, last_failure_error = :failure_error
WHERE id = :task_id AND status = :status_seen
    AND COALESCE(current_run_id, 0) = :run_id_seen AND COALESCE(claim_lock, '') = :lock_seen
RETURNING id"""

INSERT_COMMENT = """
INSERT INTO task_comments (task_id, author, body, created_at) VALUES (:task_id, :author, :body, :now) RETURNING id"""

INSERT_ENDED_RUN = """
INSERT INTO task_runs (task_id, profile, step_key, status, outcome, summary, metadata, started_at, ended_at)
SELECT id, assignee, current_step_key, :run_status, :outcome, :summary, :metadata, :now, :now
FROM tasks WHERE id = :task_id
RETURNING id"""

# --- rescue --------------------------------------------------------------------------------------------------------

RESCUE_TASK = """
UPDATE tasks SET
    status = :status, claim_lock = NULL, claim_expires = NULL, worker_pid = NULL, current_run_id = NULL
WHERE id = :task_id AND status = 'running' AND COALESCE(current_run_id, 0) = :run_id
    AND COALESCE(claim_lock, '') = :lock AND COALESCE(claim_expires, 0) = :expires_seen
    AND COALESCE(worker_pid, 0) = :worker_pid_seen AND COALESCE(last_heartbeat_at, 0) = :heartbeat_seen
RETURNING id"""

LAST_MOVE = """
SELECT kind FROM task_events
WHERE task_id = :task_id AND kind IN (
    'created', 'completed', 'blocked', 'unblocked', 'promoted', 'promoted_manual', 'status', 'claimed', 'reclaimed')
ORDER BY id DESC LIMIT 1"""

# Every run that holds a task now, with what is known about its processes.
HELD = """
SELECT
    tasks.id AS task_id, tasks.claim_lock, tasks.claim_expires, tasks.worker_pid AS task_worker_pid,
    tasks.last_heartbeat_at, tasks.current_run_id, tasks.assignee,
    task_runs.started_at, task_runs.max_runtime_seconds,
    kp_runs.run_id AS known_run_id, kp_runs.lane, kp_runs.source_status, kp_runs.claimed_at, kp_runs.launch_deadline,
    kp_runs.accepted_at,
    kp_runs.host_id, kp_runs.boot_id, kp_runs.pid_namespace, kp_runs.supervisor_pid, kp_runs.supervisor_started,
    kp_runs.worker_pid, kp_runs.worker_started
FROM tasks
    LEFT JOIN task_runs ON task_runs.id = tasks.current_run_id
    LEFT JOIN kp_runs ON kp_runs.run_id = tasks.current_run_id
WHERE tasks.status = 'running'"""

# The part of them that a watch cannot vouch for: new since it looked, without a lease, or near its end.
HELD_UNWATCHED = f"""
{HELD} AND (tasks.current_run_id IS NULL OR tasks.current_run_id > :newest OR tasks.claim_expires IS NULL
    OR tasks.claim_expires <= :now)"""

HELD_BY_RUN = f"{HELD} AND tasks.current_run_id = :run_id"
HELD_BY_TASK = f"{HELD} AND tasks.id = :task_id"
HELD_IDS = "SELECT current_run_id FROM tasks WHERE status = 'running'"

# Runs that were closed by somebody else while their processes may still be there: nothing may start beside them.
LINGERING = """
SELECT
    kp_runs.task_id, kp_runs.run_id AS known_run_id, kp_runs.claim_lock, kp_runs.lane, kp_runs.source_status,
    kp_runs.launch_deadline, kp_runs.accepted_at, kp_runs.host_id, kp_runs.boot_id, kp_runs.pid_namespace,
    kp_runs.supervisor_pid, kp_runs.supervisor_started, kp_runs.worker_pid, kp_runs.worker_started,
    task_runs.ended_at AS closed_at
FROM kp_runs LEFT JOIN task_runs ON task_runs.id = kp_runs.run_id
WHERE kp_runs.ended_at IS NULL AND kp_runs.accepted_at IS NOT NULL
    AND (task_runs.id IS NULL OR task_runs.ended_at IS NOT NULL)
ORDER BY kp_runs.run_id"""

SUSPECT = """
INSERT INTO kp_suspects (task_id, run_id, claim_expires, since) VALUES (:task_id, :run_id, :claim_expires, :now)
ON CONFLICT (task_id) DO UPDATE SET
    run_id = excluded.run_id, claim_expires = excluded.claim_expires, since = excluded.since
WHERE kp_suspects.run_id <> excluded.run_id OR kp_suspects.claim_expires <> excluded.claim_expires
    OR kp_suspects.since > excluded.since"""

SUSPECTED = """
SELECT since FROM kp_suspects WHERE task_id = :task_id AND run_id = :run_id AND claim_expires = :claim_expires"""

CLEAR_SUSPECT = "DELETE FROM kp_suspects WHERE task_id = :task_id"

MARK_ENDED = "UPDATE kp_runs SET ended_at = :now WHERE run_id = :run_id AND ended_at IS NULL"

# --- promotion -----------------------------------------------------------------------------------------------------

PROMOTABLE = f"SELECT id FROM tasks WHERE status = 'todo' AND {PARENTS_FINISHED}"

PROMOTE = f"UPDATE tasks SET status = 'ready' WHERE status = 'todo' AND {PARENTS_FINISHED} RETURNING id"

PROMOTE_CHILDREN = f"""
UPDATE tasks SET status = 'ready'
WHERE status = 'todo' AND id IN (SELECT child_id FROM task_links WHERE parent_id = :task_id) AND {PARENTS_FINISHED}
RETURNING id"""

DEMOTE = """
UPDATE tasks SET status = 'todo' WHERE id = :child_id AND status = 'ready' AND claim_lock IS NULL
RETURNING id"""

OPEN_PARENTS = """
SELECT count(*) FROM task_links JOIN tasks AS parent ON parent.id = task_links.parent_id
WHERE task_links.child_id = :task_id AND parent.status NOT IN ('done', 'archived')"""

# --- clean-up of scratch workspaces --------------------------------------------------------------------------------

ENQUEUE_CLEANUP = """
INSERT INTO kp_cleanups (task_id, run_id, path, created_at) VALUES (:task_id, :run_id, :path, :now)
ON CONFLICT (task_id) DO UPDATE SET run_id = excluded.run_id, path = excluded.path, created_at = excluded.created_at"""

# An open child may read its parent's hand-off files (contract section 3); a task made in a folder works there too.
DUE_CLEANUPS = """
SELECT kp_cleanups.task_id, kp_cleanups.run_id, kp_cleanups.path
FROM kp_cleanups LEFT JOIN tasks ON tasks.id = kp_cleanups.task_id
WHERE (tasks.id IS NULL OR (tasks.status IN ('done', 'archived') AND tasks.current_run_id IS NULL)) AND NOT EXISTS (
    SELECT 1 FROM task_links JOIN tasks AS child ON child.id = task_links.child_id
    WHERE task_links.parent_id = kp_cleanups.task_id AND child.status NOT IN ('done', 'archived'))
AND NOT EXISTS (SELECT 1 FROM tasks AS sharer WHERE sharer.workspace_path = kp_cleanups.path
    AND sharer.id <> kp_cleanups.task_id AND sharer.status NOT IN ('done', 'archived'))
ORDER BY kp_cleanups.created_at, kp_cleanups.task_id"""

LIVING_RUN = """
SELECT 1 FROM kp_runs WHERE task_id = :task_id AND accepted_at IS NOT NULL AND ended_at IS NULL"""

FORGET_CLEANUP = "DELETE FROM kp_cleanups WHERE task_id = :task_id AND path = :path"

# --- repair of pairs that may not exist (DESIGN.md section 1, promise 2) -------------------------------------------

STRAY_LOCKS = """
SELECT id, status, claim_lock, current_run_id, worker_pid FROM tasks
WHERE status <> 'running' AND (claim_lock IS NOT NULL OR current_run_id IS NOT NULL)"""

CLEAR_STRAY_LOCK = """
UPDATE tasks SET claim_lock = NULL, claim_expires = NULL, worker_pid = NULL, current_run_id = NULL
WHERE id = :task_id AND status = :status AND COALESCE(claim_lock, '') = :lock
    AND COALESCE(current_run_id, 0) = :run_id
RETURNING id"""

STRAY_RUNS = """
SELECT task_runs.id, task_runs.task_id, tasks.status
FROM task_runs LEFT JOIN tasks ON tasks.id = task_runs.task_id
WHERE task_runs.status = 'running' AND task_runs.ended_at IS NULL
    AND (tasks.id IS NULL OR tasks.status <> 'running' OR tasks.current_run_id IS NULL
         OR tasks.current_run_id <> task_runs.id)"""

CLOSE_STRAY_RUN = """
UPDATE task_runs SET
    status = 'reclaimed', outcome = 'reclaimed', ended_at = :now, error = COALESCE(error, :reason),
    claim_lock = NULL, claim_expires = NULL, worker_pid = NULL
WHERE id = :run_id AND task_id = :task_id AND ended_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM tasks WHERE tasks.id = :task_id AND tasks.status = 'running' AND tasks.current_run_id = :run_id)
RETURNING id"""

# --- attachments ---------------------------------------------------------------------------------------------------

INSERT_ATTACHMENT = """
INSERT INTO task_attachments (task_id, filename, stored_path, content_type, size, uploaded_by, created_at)
VALUES (:task_id, :filename, :stored_path, NULL, :size, 'kanban_complete', :now)"""
