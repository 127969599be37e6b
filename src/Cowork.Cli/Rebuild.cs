using Cowork.Application.Storage;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary><c>cowork rebuild</c> rebuilds the read models from the log beside the live ones, while hosts run; with <c>--check</c> it only compares them.</summary>
static class Rebuild
{
    public static async Task<int> Run(string[] options)
    {
        if (CommandOptions.Read("rebuild", "--check", options) is not { } given)
        {
            return Usage.Error;
        }
        return await Tables.Open(
            given.Data, engine => given.HasFlag ? Compare(engine.Rows) : RebuildAll(engine.Rows));
    }

    static async Task<int> RebuildAll(IRows rows)
    {
        var succeeded = true;
        foreach (var model in ReadModels.Tables)
        {
            try
            {
                Console.WriteLine($"{model.Table}: {await rows.Rebuild(model, CancellationToken.None)} events folded");
            }
            catch (Exception e) when (e is FoldException or InvalidOperationException)
            {
                succeeded = false;
                Console.Error.WriteLine($"{model.Table}: not rebuilt, the old rows stay. {e.Message}");
            }
        }
        return succeeded ? 0 : 1;
    }

    static async Task<int> Compare(IRows rows)
    {
        var equal = true;
        foreach (var model in ReadModels.Tables)
        {
            var difference = await rows.FindDifference(model, CancellationToken.None);
            equal &= difference is null;
            Console.WriteLine(difference is null ? $"{model.Table}: equal to the log" : $"{model.Table}: NOT equal to the log, first at {difference}");
        }
        return equal ? 0 : 1;
    }
}
