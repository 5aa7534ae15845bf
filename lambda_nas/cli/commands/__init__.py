"""The commands, one file each: parse, call one function of ``lambda_nas.api``, print."""
