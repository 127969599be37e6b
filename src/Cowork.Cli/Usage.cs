namespace Cowork.Cli;

static class Usage
{
    const string Text = """
        usage: cowork COMMAND

          demo                                       a guided tour on a real file
          rebuild [--check] [--data DIR]             the read models anew from the log, or only compared with it
          verify FILE…                               checks trace bundles with nothing but the files
          doctor [--data DIR]                        what is here, what is missing, and what mends it
          doctor --connection-string [--data DIR]    of the private database that runs
        """;

    public static int Print(TextWriter to, int exitCode)
    {
        to.WriteLine(Text);
        return exitCode;
    }

    /// <summary>A wrong call: what was wrong with it, and how it should look.</summary>
    public static int Wrong(string what)
    {
        Console.Error.WriteLine($"cowork: {what}");
        return Print(Console.Error, 2);
    }
}
