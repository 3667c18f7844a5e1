-- cluster: which cluster this is and on which timeline. xids mean nothing in another one.
SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint();
