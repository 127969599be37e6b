using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>What one extraction may use.</summary>
/// <param name="Time">Wall-clock time, and CPU time of all its threads. A reader stops at two thirds of it with the text that it has.</param>
/// <param name="MemoryBytes">All memory of the process that reads the document.</param>
/// <param name="Parallel">Extractions at once; the others wait.</param>
public sealed record ExtractionLimits(TimeSpan Time, long MemoryBytes, int Parallel)
{
    public static ExtractionLimits Default { get; } = new(TimeSpan.FromSeconds(60), 256L << 20, 2);
}

/// <summary>
/// Reads each document in a process of its own, <c>Cowork.Documents</c>, which confines itself before it opens the document: it has no network, no names of files, no
/// other processes and no secrets, and ends with the host. This side holds the limits that the process could not keep by itself: time and memory.
/// </summary>
/// <param name="folder">Folder for copies of documents that come as other than files.</param>
public sealed partial class ConfinedDocumentText(ExtractionLimits limits, string folder, TimeProvider clock, ILogger<ConfinedDocumentText> logger) : IDocumentText, IDisposable
{
    const string Program = "Cowork.Documents.dll";

    /// <summary>Exit code of a process that did not begin to read.</summary>
    const int NotStarted = 70;

    /// <summary>Codes of a process that a signal ended: 128 and the signal.</summary>
    const int Aborted = 128 + 6;
    const int OutOfCpuTime = 128 + 24;

    const int ErrorCharsMax = 4_096;
    const int StatusBytesMax = 16 * 1024;
    const int FrameBytesMax = 64 * 1024;

    /// <summary>Between two looks at the memory: the process can take no more than it may in data, and this finds what it takes besides.</summary>
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(50);

    readonly SemaphoreSlim places = new(limits.Parallel);
    int told;

    /// <summary>The program that runs this process, beside the runtime that it uses.</summary>
    static readonly string Dotnet = FindDotnet();

    public async Task<DocumentText> Extract(Stream document, string name, string? declaredMediaType, CancellationToken ct)
    {
        await places.WaitAsync(ct);
        try
        {
            await using var copy = document is FileStream { CanSeek: true, Position: 0 } ? null : await Copy(document, ct);
            var file = copy ?? (FileStream)document;
            for (var attempt = 1; ; attempt++)
            {
                var (text, why) = await Read(file, Ending(name), MediaType(declaredMediaType), ct);
                if (text is not null)
                {
                    return text;
                }
                LogEnded(logger, attempt, why);
                if (attempt == 2)
                {
                    return new DocumentText.Failed(
                        DocumentFaults.ExtractionFailed, "The process that read the document ended without a result, twice.", "application/octet-stream");
                }
            }
        }
        finally
        {
            places.Release();
        }
    }

    public void Dispose() => places.Dispose();

    /// <summary>A copy without a name, which no crash leaves behind.</summary>
    async Task<FileStream> Copy(Stream document, CancellationToken ct)
    {
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, $"document-{Ids.NewKey(clock.GetUtcNow())}");
        var copy = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Options = FileOptions.Asynchronous,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        try
        {
            File.Delete(path);
            await document.CopyToAsync(copy, ct);
            await copy.FlushAsync(ct);
            return copy;
        }
        catch
        {
            await copy.DisposeAsync();
            throw;
        }
    }

    /// <returns>No text when the process ended without a result and not by its own fault; then why.</returns>
    async Task<(DocumentText? Text, string Why)> Read(FileStream file, string ending, string declared, CancellationToken ct)
    {
        using var process = new ReaderProcess(Start(file, ending, declared));
        await process.Started;
        var reading = ReadAnswer(process.Output);
        var errors = process.ReadErrors(ErrorCharsMax);
        var watching = Watch(process, reading, ct);
        var killed = await watching;
        var answer = await reading;
        await process.Exited;
        ct.ThrowIfCancellationRequested();
        if (killed is not null)
        {
            return (killed, "");
        }
        if (answer is not null)
        {
            return (answer, "");
        }
        var said = (await errors).Trim();
        return process.ExitCode switch
        {
            NotStarted => throw new IOException($"The program that reads documents cannot work: {said}"),
            OutOfCpuTime => (TimedOut, ""),
            Aborted when said.Contains("emory", StringComparison.Ordinal) => (TookMemory, ""),
            Aborted when said.Contains("Stack overflow", StringComparison.Ordinal) =>
                (new DocumentText.Failed(DocumentFaults.BrokenDocument, "The document is nested deeper than a document is.", "application/octet-stream"), ""),
            var code => (null, $"exit code {code}; {FileText.Truncate(FileText.OneLine(said), 300)}"),
        };
    }

    static DocumentText.Failed TimedOut { get; } =
        new(DocumentFaults.ExtractionTimeout, "The extraction took longer than it may.", "application/octet-stream");

    static DocumentText.Failed TookMemory { get; } =
        new(DocumentFaults.ExtractionMemory, "The document takes more memory than an extraction may have.", "application/octet-stream");

    ProcessStartInfo Start(FileStream file, string ending, string declared)
    {
        var start = new ProcessStartInfo(Dotnet)
        {
            WorkingDirectory = "/",
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardErrorEncoding = Encoding.UTF8,
        };
        foreach (var argument in (IEnumerable<string>)
        [
            "exec", Path.Combine(AppContext.BaseDirectory, Program), "read", Number(Environment.ProcessId), Number(limits.MemoryBytes),
            Number((long)Math.Ceiling(limits.Time.TotalSeconds)), Number(DocumentText.BytesMax), $"/proc/{Environment.ProcessId}/fd/{file.SafeFileHandle.DangerousGetHandle()}",
            ending, declared,
        ])
        {
            start.ArgumentList.Add(argument);
        }
        // Nothing of the host's environment: it holds keys.
        start.Environment.Clear();
        start.Environment["LC_ALL"] = "C.UTF-8";
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        start.Environment["DOTNET_gcConcurrent"] = "0";
        return start;
    }

    /// <summary>Kills the process when it takes too much, when nobody waits any more, or when it says more than it may.</summary>
    /// <returns>Why it was killed, for the document's owner; null: it ended by itself, or nobody waits.</returns>
    async Task<DocumentText?> Watch(ReaderProcess process, Task<DocumentText?> reading, CancellationToken ct)
    {
        using var timeout = new CancellationTokenSource(limits.Time, clock);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, ct);
        while (!process.Exited.IsCompleted)
        {
            if (over.IsCancellationRequested)
            {
                process.Kill();
                return TimedOut;
            }
            if (process.MemoryBytes() > limits.MemoryBytes)
            {
                process.Kill();
                return TookMemory;
            }
            if (reading.IsFaulted)
            {
                process.Kill();
                return null;
            }
            await Task.WhenAny(process.Exited, Task.Delay(LookEvery, clock, over.Token));
        }
        return null;
    }

    /// <summary>Reads the frames of the text and the end. Null: the process ended before it had written them.</summary>
    async Task<DocumentText?> ReadAnswer(Stream output)
    {
        var text = new byte[FrameBytesMax];
        var used = 0;
        var number = new byte[4];
        while (true)
        {
            if (await ReadNumber(output, number) is not { } length)
            {
                return null;
            }
            if (length == 0)
            {
                break;
            }
            if (length is < 0 or > FrameBytesMax || used + length > DocumentText.BytesMax)
            {
                return null;
            }
            if (text.Length < used + length)
            {
                Array.Resize(ref text, Math.Min(Math.Max(text.Length * 2, used + length), DocumentText.BytesMax));
            }
            if (await output.ReadAtLeastAsync(text.AsMemory(used, length), length, throwOnEndOfStream: false) < length)
            {
                return null;
            }
            used += length;
        }
        if (await ReadNumber(output, number) is not (> 0 and <= StatusBytesMax and var size))
        {
            return null;
        }
        var status = new byte[size];
        if (await output.ReadAtLeastAsync(status, status.Length, throwOnEndOfStream: false) < status.Length
            || Encoding.UTF8.GetString(status).Split('\n') is not [var mediaType, var code, var detail, var extent, var means])
        {
            return null;
        }
        Tell(means);
        return code.Length > 0
            ? new DocumentText.Failed(code, detail, mediaType)
            : new DocumentText.Extracted(mediaType, text.AsMemory(0, used), IsCut: extent == "cut");
    }

    static async Task<int?> ReadNumber(Stream output, byte[] number) =>
        await output.ReadAtLeastAsync(number, number.Length, throwOnEndOfStream: false) == number.Length ? BinaryPrimitives.ReadInt32LittleEndian(number) : null;

    /// <summary>Says once when the kernel has not all that confines the process.</summary>
    void Tell(string means)
    {
        if (means != "landlock seccomp" && Interlocked.Exchange(ref told, 1) == 0)
        {
            LogLessConfined(logger, means.Length == 0 ? "nothing else" : means);
        }
    }

    /// <summary>The ending of a name, when it is one of a kind of file.</summary>
    static string Ending(string name)
    {
        var ending = Path.GetExtension(name).ToLowerInvariant();
        return ending.Length is > 1 and <= 16 && ending.AsSpan(1).IndexOfAnyExceptInRange('0', 'z') < 0 && ending.Skip(1).All(char.IsAsciiLetterOrDigit) ? ending : "";
    }

    /// <summary>A media type without its parameters, when it is one.</summary>
    static string MediaType(string? declared)
    {
        var type = (declared ?? "").Split(';')[0].Trim().ToLowerInvariant();
        return type.Length <= 127 && type.All(c => char.IsAsciiLetterOrDigit(c) || c is '/' or '.' or '+' or '-' or '_') ? type : "";
    }

    static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    static string FindDotnet()
    {
        var beside = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));
        return File.Exists(beside) ? beside : "dotnet";
    }

    [LoggerMessage(1, LogLevel.Warning, "The process that read a document ended without a result (attempt {Attempt}): {Why}")]
    static partial void LogEnded(ILogger logger, int attempt, string why);

    [LoggerMessage(2, LogLevel.Warning, "This system confines the process that reads documents by its limits and {Means}; Landlock and seccomp would confine it further")]
    static partial void LogLessConfined(ILogger logger, string means);
}
