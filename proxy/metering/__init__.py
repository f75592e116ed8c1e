"""One metered call: opened, sent, relayed, measured, settled.

``call``         puts the steps in order;
``upstreams``    where the upstreams are, whose key opens them, whose models are which;
``upload``       the request's body on its way up;
``asking``       usage was asked for, and the upstream refuses the question;
``relay``        the answer on its way down, while ``wire`` reads it;
``reading``      the meter that fits an answer, and what was seen in the end;
``drains``       how many answers are read on for clients that left;
``outcome``      decides, purely, what the call comes to;
``estimator``    our own count, in a thread;
``classifying``  who tells a request's context class;
``settling``     to the ledger, and where it can't take it, to its spool;
``upkeep``       what every worker does from time to time.

What is deferred:

``deferral``          what a call does to an object that outlives it;
``deferrals``         which calls make or name one, and whose it is;
``making``            calls that may make one, and leave their usage for later;
``showing``           calls that show one whose usage is not known yet;
``polling``           asks how it ended, for clients that never ask;
``batch_files``       reads a batch's output file;
``deferred_outcome``  decides what is billed for an object;
``batch_outcome``     decides what is billed for a batch whose file was read;
``finishing``         settles for the request that made it, whoever saw the end.

WebSockets:

``session``         one metered socket, in order;
``session_state``   what is known of it, and what it used so far;
``session_relay``   its bytes, both ways;
``session_drain``   answers that run when its client leaves;
``session_events``  events of our own;
``turn_session``    a socket whose answers are requests of their own;
``turn_gate``       its way up: each goes when the ledger has admitted it;
``turn_outcome``    decides what is billed for one that has no end, or never began.
"""
