using System.Text;

using Cowork.Application;

using Microsoft.Extensions.Logging;

namespace Cowork.Kernels;

/// <summary>
/// Kernels of Jupyter, each in a sandbox of bubblewrap: no network, a root that cannot be written, no sight of the host's processes and files but those below
/// <c>/usr</c>. docs/kernels.md tells what a cell can reach.
/// </summary>
/// <param name="hidden">Folders of the host that no cell may see, should they lie below <c>/usr</c>: its program, its data.</param>
public sealed partial class SandboxedKernels(IEnumerable<string> hidden, TimeProvider clock, ILogger<SandboxedKernels> logger) : IKernels, IDisposable
{
    /// <summary>Longest start of a kernel, on a machine that is very busy. The bridge gives up after a minute.</summary>
    static readonly TimeSpan StartTime = TimeSpan.FromSeconds(90);

    /// <summary>How long a bad answer is kept: somebody may be installing what is missing.</summary>
    static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(10);

    readonly Lazy<SandboxFiles> files = new(MakeFiles);
    readonly IReadOnlyList<string> hiddenFolders = [.. hidden.Select(Path.TrimEndingDirectorySeparator)];
    readonly SemaphoreSlim probing = new(1);
    (string? Why, long At)? known;

    /// <inheritdoc/>
    public IReadOnlyList<KernelSpec> Specs => [.. InstalledKernels.Find().Select(k => k.Spec)];

    /// <inheritdoc/>
    public async ValueTask<string?> WhyUnavailable(CancellationToken ct)
    {
        if (Known() is { } fresh)
        {
            return fresh.Why;
        }
        await probing.WaitAsync(ct);
        try
        {
            return Known() is { } settled ? settled.Why : await Probe(ct);
        }
        finally
        {
            probing.Release();
        }
    }

    /// <inheritdoc/>
    public async ValueTask<IKernel> Start(KernelRequest request, CancellationToken ct)
    {
        var installed = InstalledKernels.Find();
        if (installed.Count == 0)
        {
            throw new KernelUnavailableException(await WhyUnavailable(ct) ?? Prerequisites.NoKernel);
        }
        var kernel = request.Kernel is null ? installed[0] : installed.FirstOrDefault(k => k.Spec.Name == request.Kernel)
            ?? throw new ArgumentException($"No kernel {request.Kernel} is installed.", nameof(request));
        using var folders = SandboxFolders.Open(request.Grants);
        SandboxUser? user;
        try
        {
            user = GrantedFolder.IsRoot ? folders.User() : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new KernelUnavailableException($"The workspace cannot be used. {e.Message}");
        }
        return await Start(kernel, request.Limits, folders.All, user, ct);
    }

    public void Dispose()
    {
        if (files.IsValueCreated)
        {
            files.Value.Dispose();
        }
        probing.Dispose();
    }

    (string? Why, long At)? Known() => known is { } last && (last.Why is null || clock.GetElapsedTime(last.At) < RetryAfter) ? last : null;

    /// <summary>Starts a sandbox with the default kernel and an empty workspace, and ends it.</summary>
    async Task<string?> Probe(CancellationToken ct)
    {
        try
        {
            if (InstalledKernels.Find() is not [var kernel, ..])
            {
                throw new KernelUnavailableException(await Prerequisites.Explain("", ct) ?? Prerequisites.NoKernel);
            }
            var user = GrantedFolder.IsRoot ? SandboxUser.For("probe") : default(uint?);
            await using var started = await Start(kernel, KernelLimits.Default, [], user is { } id ? new SandboxUser(id, id) : null, ct);
        }
        catch (Exception e) when (e is KernelUnavailableException or IOException)
        {
            known = (e.Message, clock.GetTimestamp());
            LogUnavailable(logger, e.Message);
        }
        return known?.Why;
    }

    async Task<SandboxedKernel> Start(InstalledKernel kernel, KernelLimits limits, IReadOnlyList<SandboxFolder> folders, SandboxUser? user, CancellationToken ct)
    {
        var started = new SandboxedKernel(kernel, limits, SandboxCommand.Build(files.Value, kernel, limits, folders, user, hiddenFolders), clock);
        try
        {
            var bound = await started.Ready.WaitAsync(StartTime, clock, ct);
            if (!bound.SequenceEqual(folders.Select(folder => folder.Folder.Identity)))
            {
                // A path led elsewhere between the opening here and the binding there. No code was executed yet.
                throw new KernelUnavailableException("The workspace was replaced while the kernel started.");
            }
            known = (null, clock.GetTimestamp());
            return started;
        }
        catch (Exception e)
        {
            await started.DisposeAsync();
            var why = e switch
            {
                KernelUnavailableException => await Prerequisites.Explain(e.Message, ct) ?? $"The kernel did not start: {Prerequisites.Shorten(e.Message)}",
                TimeoutException => $"The kernel did not start within {StartTime.TotalSeconds} s.",
                _ => null,
            };
            if (why is null)
            {
                throw;
            }
            known = null;
            throw new KernelUnavailableException(why);
        }
    }

    static SandboxFiles MakeFiles()
    {
        var filter = SandboxFilter.Build() ?? throw new KernelUnavailableException("Kernels run on x64 and arm64: there is no filter of system calls for another architecture.");
        using var bridge = typeof(SandboxedKernels).Assembly.GetManifestResourceStream("bridge.py")!;
        var text = new byte[bridge.Length];
        bridge.ReadExactly(text);
        return new(new("cowork-filter", filter), new("cowork-bridge", text), new("cowork-users", Encoding.ASCII.GetBytes(SandboxCommand.Users)));
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "No kernel can start here, and cells are refused: {Why}")]
    static partial void LogUnavailable(ILogger logger, string why);
}
