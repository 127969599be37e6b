namespace Cowork.Cli;

static class Usage
{
    /// <summary>The exit code of a wrong call.</summary>
    public const int Error = 2;

    const string Text = """
        usage: cowork COMMAND

          demo                                       gives a guided tour on a real file
          migrate [--data DIR]                       makes and migrates the tables as the role that owns them, for hosts whose role may not
          keys rotate [--data-keys] [--data DIR]     puts secrets under a new master key, and under new data keys, while hosts run
          app-key create --app NAME [--org ORG] [--out FILE] [--data DIR]
                                                     makes a key that an app signs its requests with, and registers it
          app-key list [--org ORG] [--data DIR]      lists the keys of a tenant's apps
          app-key revoke --kid KID [--org ORG] [--data DIR]
                                                     makes a key of an app worthless at once
          subjects list [--org ORG] [--data DIR]     lists a tenant's data subjects, and how far their erasures are
          subjects erase NAME [--yes] [--by WHO] [--org ORG] [--data DIR]
                                                     erases a data subject, with or without a host that runs (docs/privacy.md); --yes: does not ask,
                                                     WHO is written down with it: the user of this shell, unless it is given
          rebuild [--check] [--data DIR]             rebuilds the read models from the log; --check only compares them
          health [--data DIR]                        asks the host that works on DIR whether it is ready: exit code 0, else 1
          verify [--json] [--format FORMAT] FILE…    checks bundles and exports offline; - is standard input, FORMAT the only one to accept,
                                                     --jwks FILE the only keys whose signed heads count, --heads FILE heads that a witness keeps
          verify --database CONNECTION               verifies the whole log where it lies (docs/audit.md); --state FILE goes on from there the next time,
                                                     --heads FILE has heads that were kept elsewhere, --jwks FILE the only keys to trust, --json
          replay [--json] FILE…                      runs the loop of bundles again on what they recorded, without a model, a tool or a network
          diff [--json] FILE FILE                    aligns the runs of two bundles by step and names the first difference
          witness --url URL --token TOKEN --state DIR  follows the signed heads from another machine and raises an alarm (docs/audit.md)
          doctor [--data DIR]                        lists what is installed, what is missing, and the commands that install it
          doctor --connection-string [--data DIR]    prints the connection string of the private database that runs, for another host
          doctor --reader [--data DIR]               the same for programs that only read

        exit codes: 0 it is as wanted; 1 it failed, is not ready, not sound or not equal; 2 the call is wrong, or nothing was judged; 3 a witness raised an alarm
        """;

    public static int Print(TextWriter output, int exitCode)
    {
        output.WriteLine(Text);
        return exitCode;
    }

    /// <summary>Prints what is wrong with the call, and where all commands and options are. Answers <see cref="Error"/>.</summary>
    /// <param name="error">One sentence without its full stop.</param>
    public static int Wrong(string error)
    {
        Console.Error.WriteLine($"cowork: {error.TrimEnd('.')}.");
        Console.Error.WriteLine("cowork help lists the commands and their options.");
        return Error;
    }
}
