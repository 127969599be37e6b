using Cowork.Cli;

// Exit codes: 0 it is so, 1 it is not, 2 the question was wrong.
return args switch
{
    ["doctor", .. var options] => await Doctor.Run(options),
    ["demo", .. var options] => await Demo.Run(options),
    ["rebuild", .. var options] => await Rebuild.Run(options),
    ["verify", .. var files] => await Verify.Run(files),
    ["help"] or ["--help"] or ["-h"] => Usage.Print(Console.Out, 0),
    _ => Usage.Print(Console.Error, 2),
};
