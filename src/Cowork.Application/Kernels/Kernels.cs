namespace Cowork.Application;

/// <summary>Kernels of Jupyter that execute cells, each in a sandbox of its own. Cells never run outside of one.</summary>
public interface IKernels
{
    /// <summary>Kernels that are installed; the first one is the default. Empty: none is.</summary>
    IReadOnlyList<KernelSpec> Specs { get; }

    /// <summary>
    /// Why no kernel can start here: sentences for people that say what is missing and what to install or allow; null: kernels start. The first question starts a
    /// sandbox to find out, in about a second; a good answer is kept until a start fails, a bad one for some seconds.
    /// </summary>
    ValueTask<string?> WhyUnavailable(CancellationToken ct);

    /// <summary>Starts a kernel and waits until it takes code: about two seconds.</summary>
    /// <exception cref="KernelUnavailableException">No kernel can start here, or this one did not.</exception>
    /// <exception cref="ArgumentException">No kernel of that name is installed.</exception>
    ValueTask<IKernel> Start(KernelRequest request, CancellationToken ct);
}

/// <summary>
/// One running kernel. It keeps its variables from cell to cell until it is restarted. Disposing it ends its processes and removes what they left outside the workspace.
/// </summary>
public interface IKernel : IAsyncDisposable
{
    /// <summary>What the cells run with. It is read beside the first cell, so that nobody waits for it.</summary>
    Task<KernelEnvironment> Environment { get; }

    /// <summary>
    /// Completes with the reason, a sentence, when the sandbox is gone: it was disposed of, or killed from outside. The kernel takes no more code then; a new one can
    /// be started.
    /// </summary>
    Task<string> Ended { get; }

    /// <summary>
    /// Completes with the reason, a sentence, at once when the kernel died or was replaced while no cell ran: variables of earlier cells do not exist any more, and the
    /// kernel that takes its place is starting. The next cell begins with <see cref="KernelMessage.Restarted"/>, and from then on another task is here.
    /// </summary>
    Task<string> Lost { get; }

    /// <summary>
    /// Executes one cell. The last message is <see cref="KernelMessage.Done"/>, also when the kernel or its sandbox dies. A caller that leaves early interrupts the cell.
    /// </summary>
    /// <param name="interrupt">Interrupts the cell, as Jupyter does; one that goes on for 3 s loses its kernel. The messages still end with Done.</param>
    /// <exception cref="InvalidOperationException">Another cell runs: callers queue.</exception>
    /// <exception cref="KernelUnavailableException">The sandbox is gone (<see cref="Ended"/>).</exception>
    IAsyncEnumerable<KernelMessage> Execute(string code, CancellationToken interrupt);

    /// <summary>Replaces the kernel by a new one without variables, and waits until it takes code. A cell that runs ends as died.</summary>
    /// <exception cref="KernelUnavailableException">The sandbox is gone, or no kernel started.</exception>
    ValueTask Restart(CancellationToken ct);
}

/// <summary>A kernel that is installed.</summary>
/// <param name="Name">Name of its specification: <c>python3</c>.</param>
/// <param name="Language">Language of its cells, in lower case: <c>python</c>.</param>
/// <param name="DisplayName">Name for people: <c>Python 3 (ipykernel)</c>.</param>
public sealed record KernelSpec(string Name, string Language, string DisplayName);

/// <summary>What a kernel is started with.</summary>
/// <param name="Grants">
/// The session's folders; the first is the kernel's working directory. The one implicit grant is the only place where the kernel can write that outlives it. Grants that the
/// session's creation names are seen at their own paths, and written to where <see cref="Grant.CellsMayWrite"/>.
/// </param>
/// <param name="Limits">What its cells may use.</param>
/// <param name="Kernel">Name of a <see cref="KernelSpec"/>; null: the default.</param>
public sealed record KernelRequest(Grants Grants, KernelLimits Limits, string? Kernel = null);

/// <summary>What cells may use (contracts/decisions.md, "Scratchpads"). A cell past one of them ends with its <c>limit_…</c>, and its kernel is restarted.</summary>
/// <param name="Time">Wall-clock time of one cell.</param>
/// <param name="OutputBytes">Output of one cell that is passed on, in UTF-8 bytes; what follows is cut. A cell that goes on to sixteen times as much is ended.</param>
/// <param name="MemoryBytes">Memory of the kernel and all that it starts.</param>
/// <param name="Processes">Processes and threads of the kernel.</param>
/// <param name="DiskBytes">What the kernel may add to the workspace.</param>
public sealed record KernelLimits(TimeSpan Time, long OutputBytes, long MemoryBytes, int Processes, long DiskBytes)
{
    public static KernelLimits Default { get; } = new(TimeSpan.FromSeconds(120), 1 << 20, 1L << 30, 48, 1L << 30);
}

/// <summary>What the cells of a kernel run with: two executions with equal ones can be compared.</summary>
/// <param name="Kernel">Name of the <see cref="KernelSpec"/>.</param>
/// <param name="Language">Language of its cells, in lower case.</param>
/// <param name="Version">Version of the language: <c>3.11.2</c>.</param>
/// <param name="Packages">Versions of the installed packages, sorted by name (ordinal); empty for another language than Python.</param>
public sealed record KernelEnvironment(string Kernel, string Language, string Version, IReadOnlyList<KernelPackage> Packages);

/// <summary>A package that a kernel can import.</summary>
public sealed record KernelPackage(string Name, string Version);

/// <summary>No kernel can be had. The message is for people, and says what to do.</summary>
public sealed class KernelUnavailableException(string message) : Exception(message);
