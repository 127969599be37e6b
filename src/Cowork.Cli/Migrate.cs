namespace Cowork.Cli;

/// <summary>
/// <c>cowork migrate</c> makes and migrates the tables as the role that owns them, and lets the hosts' role in, so that hosts need not know the owner's address.
/// </summary>
static class Migrate
{
    public static async Task<int> Run(string[] options)
    {
        if (CommandOptions.Read("migrate", flag: null, options) is not { } given)
        {
            return Usage.Error;
        }
        return await Tables.Open(
            given.Data,
            async engine =>
            {
                await engine.Upkept();
                Console.WriteLine("The tables are those of this release, and the hosts' role may use them.");
                return 0;
            });
    }
}
