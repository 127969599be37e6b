using Cowork.Projections;

namespace Cowork.Cli;

/// <summary><c>cowork verify FILE…</c> checks trace bundles offline.</summary>
static class Verify
{
    public static async Task<int> Run(string[] files)
    {
        if (files.Length == 0 || files.Any(file => file.StartsWith('-') && file != "-"))
        {
            return Usage.Wrong("verify needs files; - is standard input");
        }
        var sound = true;
        foreach (var file in files)
        {
            byte[] bytes;
            try
            {
                bytes = await Read(file);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Console.Error.WriteLine($"{file}: {e.Message}");
                return Usage.Error;
            }
            var (report, fault) = TraceVerifier.Verify(bytes);
            if (report is not null)
            {
                var leftOut = report.LeftOut > 0 ? $", {report.LeftOut} by digest only" : "";
                Console.WriteLine(
                    $"{file}: sound. {report.RunId}, {report.Status}: {report.Events} events, {report.Blobs} blobs, {report.Artifacts} artifacts{leftOut}, head {report.Head}");
            }
            else
            {
                sound = false;
                Console.WriteLine($"{file}: NOT sound. {fault!.Location}: {fault.Message}");
            }
        }
        return sound ? 0 : 1;
    }

    static async Task<byte[]> Read(string file)
    {
        if (file != "-")
        {
            return await File.ReadAllBytesAsync(file);
        }
        using var bytes = new MemoryStream();
        await using var input = Console.OpenStandardInput();
        await input.CopyToAsync(bytes);
        return bytes.ToArray();
    }
}
