// SPDX-License-Identifier: GPL-2.0-only
/*
 * A dma-buf importer around QEMU's edu PCI device, for tests only. The device is a true DMA
 * master: what it reads of a buffer it reads over the bus, through the IOMMU if there is one.
 * It moves one block at a time between memory and a page of its own; half a page, since older
 * QEMU takes the last byte of that page for out of bounds.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/iopoll.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "edu_import.h"

#define EDU_DMA_SOURCE		0x80
#define EDU_DMA_TARGET		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_COMMAND		0x98
#define EDU_DMA_START		BIT(0)
#define EDU_DMA_OUT		BIT(1)
#define EDU_OWN_MEMORY		0x40000
#define EDU_DMA_TIMEOUT_US	(5 * USEC_PER_SEC)

struct edu {
	struct pci_dev *pci;
	void __iomem *registers;
	void *bounce;
	dma_addr_t bounce_address;
	struct mutex lock;		/* the device's registers and @bounce */
	struct miscdevice misc;
};

struct edu_file {
	struct edu *edu;
	struct mutex lock;		/* everything below */
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
};

/* Both addresses are the bus's; one of them is EDU_OWN_MEMORY. */
static int edu_run(struct edu *edu, u64 source, u64 target, u32 direction)
{
	u64 command;

	writeq(source, edu->registers + EDU_DMA_SOURCE);
	writeq(target, edu->registers + EDU_DMA_TARGET);
	writeq(EDU_BLOCK_BYTES, edu->registers + EDU_DMA_COUNT);
	writeq(EDU_DMA_START | direction, edu->registers + EDU_DMA_COMMAND);
	return readq_poll_timeout(edu->registers + EDU_DMA_COMMAND, command,
				  !(command & EDU_DMA_START), 1000, EDU_DMA_TIMEOUT_US);
}

static int edu_find(struct sg_table *table, u64 offset, dma_addr_t *address)
{
	struct scatterlist *entry;
	int i;

	for_each_sgtable_dma_sg(table, entry, i) {
		if (offset + EDU_BLOCK_BYTES <= sg_dma_len(entry)) {
			*address = sg_dma_address(entry) + offset;
			return 0;
		}
		if (offset < sg_dma_len(entry))
			return -EINVAL;
		offset -= sg_dma_len(entry);
	}
	return -ERANGE;
}

static int edu_move(struct edu_file *file, struct edu_move __user *argument)
{
	struct edu *edu = file->edu;
	struct edu_move move;
	dma_addr_t address;
	int err;

	if (copy_from_user(&move, argument, sizeof(move)))
		return -EFAULT;
	if (move.pad || move.flags & ~EDU_TO_MEMORY || move.offset % EDU_BLOCK_BYTES)
		return -EINVAL;
	if (!file->table)
		return -ENOTCONN;
	err = edu_find(file->table, move.offset, &address);
	if (err)
		return err;

	mutex_lock(&edu->lock);
	if (move.flags & EDU_TO_MEMORY) {
		err = -EFAULT;
		if (copy_from_user(edu->bounce, u64_to_user_ptr(move.buffer), EDU_BLOCK_BYTES))
			goto unlock;
		err = edu_run(edu, edu->bounce_address, EDU_OWN_MEMORY, 0);
		if (!err)
			err = edu_run(edu, EDU_OWN_MEMORY, address, EDU_DMA_OUT);
	} else {
		memset(edu->bounce, 0xee, EDU_BLOCK_BYTES);
		err = edu_run(edu, address, EDU_OWN_MEMORY, 0);
		if (!err)
			err = edu_run(edu, EDU_OWN_MEMORY, edu->bounce_address, EDU_DMA_OUT);
		if (!err && copy_to_user(u64_to_user_ptr(move.buffer), edu->bounce,
					 EDU_BLOCK_BYTES))
			err = -EFAULT;
	}
unlock:
	mutex_unlock(&edu->lock);
	return err;
}

static void edu_forget(struct edu_file *file)
{
	if (file->table)
		dma_buf_unmap_attachment_unlocked(file->attachment, file->table, DMA_BIDIRECTIONAL);
	if (file->attachment)
		dma_buf_detach(file->dmabuf, file->attachment);
	if (file->dmabuf)
		dma_buf_put(file->dmabuf);
	file->table = NULL;
	file->attachment = NULL;
	file->dmabuf = NULL;
}

static int edu_attach(struct edu_file *file, struct edu_import *import)
{
	struct dma_buf_attachment *attachment;
	struct dma_buf *dmabuf;
	struct sg_table *table;
	struct scatterlist *entry;
	ktime_t start;
	int i;

	dmabuf = dma_buf_get(import->fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	file->dmabuf = dmabuf;
	attachment = dma_buf_attach(dmabuf, &file->edu->pci->dev);
	if (IS_ERR(attachment))
		return PTR_ERR(attachment);
	file->attachment = attachment;
	start = ktime_get();
	table = dma_buf_map_attachment_unlocked(attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(table))
		return PTR_ERR(table);
	import->map_ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	file->table = table;
	for_each_sgtable_dma_sg(table, entry, i) {
		import->nents++;
		import->total_bytes += sg_dma_len(entry);
		import->longest_bytes = max_t(u64, import->longest_bytes, sg_dma_len(entry));
	}
	return 0;
}

static int edu_do_import(struct edu_file *file, struct edu_import __user *argument)
{
	struct edu_import import = {};
	int err;

	if (file->dmabuf)
		return -EBUSY;
	if (get_user(import.fd, &argument->fd))
		return -EFAULT;
	err = edu_attach(file, &import);
	if (!err && copy_to_user(argument, &import, sizeof(import)))
		err = -EFAULT;
	if (err)
		edu_forget(file);
	return err;
}

static long edu_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct edu_file *file = filp->private_data;
	long result = -ENOTTY;

	mutex_lock(&file->lock);
	if (command == EDU_IOC_IMPORT)
		result = edu_do_import(file, (struct edu_import __user *)argument);
	else if (command == EDU_IOC_MOVE)
		result = edu_move(file, (struct edu_move __user *)argument);
	mutex_unlock(&file->lock);
	return result;
}

static int edu_open(struct inode *inode, struct file *filp)
{
	struct edu *edu = container_of(filp->private_data, struct edu, misc);
	struct edu_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return -ENOMEM;
	file->edu = edu;
	mutex_init(&file->lock);
	filp->private_data = file;
	return 0;
}

static int edu_release(struct inode *inode, struct file *filp)
{
	struct edu_file *file = filp->private_data;

	edu_forget(file);
	kfree(file);
	return 0;
}

static const struct file_operations edu_fops = {
	.owner = THIS_MODULE,
	.open = edu_open,
	.release = edu_release,
	.unlocked_ioctl = edu_ioctl,
};

static int edu_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct edu *edu;
	int err;

	edu = devm_kzalloc(&pci->dev, sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	edu->pci = pci;
	mutex_init(&edu->lock);
	pci_set_drvdata(pci, edu);
	err = pcim_enable_device(pci);
	if (err)
		return err;
	edu->registers = pcim_iomap(pci, 0, 0);
	if (!edu->registers)
		return -ENOMEM;
	pci_set_master(pci);
	err = dma_set_mask_and_coherent(&pci->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	dma_set_max_seg_size(&pci->dev, UINT_MAX);
	edu->bounce = dmam_alloc_coherent(&pci->dev, EDU_BLOCK_BYTES, &edu->bounce_address,
					  GFP_KERNEL);
	if (!edu->bounce)
		return -ENOMEM;
	edu->misc.minor = MISC_DYNAMIC_MINOR;
	edu->misc.name = "edu_import";
	edu->misc.fops = &edu_fops;
	edu->misc.mode = 0666;
	return misc_register(&edu->misc);
}

static void edu_remove(struct pci_dev *pci)
{
	struct edu *edu = pci_get_drvdata(pci);

	misc_deregister(&edu->misc);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu_import",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("Test-only dma-buf importer for QEMU's edu device");
MODULE_LICENSE("GPL");
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("DMA_BUF");
#else
MODULE_IMPORT_NS(DMA_BUF);
#endif
