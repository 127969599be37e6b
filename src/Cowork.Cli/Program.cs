using Cowork.Application;
using Cowork.Cli;

// Exit codes: 0 success, 1 failure, 2 wrong usage.
return args switch
{
    ["help"] or [_, "--help" or "-h"] or ["--help" or "-h", ..] => Usage.Print(Console.Out, 0),
    ["app-key", .. var options] => await AppKeyCommands.Run(options),
    ["doctor", .. var options] => await Doctor.Run(options),
    ["demo", .. var options] => await Demo.Run(options),
    ["health", .. var options] => await Health.Run(options),
    ["keys", .. var options] => await Keys.Run(options),
    ["migrate", .. var options] => await Migrate.Run(options),
    ["rebuild", .. var options] => await Rebuild.Run(options),
    ["subjects", .. var options] => await SubjectCommands.Run(options),
    ["witness", .. var options] => await Witness.Run(options),
    ["verify", .. var options] when options.Contains("--database") => await VerifyLog.Run(options),
    ["verify", .. var files] => await Verify.Run(files),
    ["replay", .. var files] => await Replay.Run(files),
    ["diff", .. var files] => await Diff.Run(files),
    [var command, ..] => Usage.Wrong($"there is no command {VisibleText.Of(command)}"),
    [] => Usage.Print(Console.Error, Usage.Error),
};
